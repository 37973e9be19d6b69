//! The loop of the generator: one thread that sends what is due and reads what has come.
//!
//! A timer of the kernel wakes it at the microsecond; an event loop that counts milliseconds would
//! send in bursts. A request never waits for a connection: if none is idle, one is opened.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::clock;
use crate::poisson::client::{Client, Progress};
use crate::poisson::{Plan, Record, Recorded, arrivals_us};

/// Connections that are opened before the first request.
const CONNECTIONS_FIRST: usize = 256;

/// Connections at most. A request beyond is not sent, and counts as failed.
const CONNECTIONS_MAX: usize = 12_000;

/// How long answers are awaited after the last arrival.
const PATIENCE: Duration = Duration::from_secs(15);

/// The mark of the timer among the events; connections have their index.
const TIMER: u64 = u64::MAX;

struct Generator {
    epoll: OwnedFd,
    timer: OwnedFd,
    plan: Plan,
    request: Vec<u8>,
    start: Instant,
    clients: Vec<Option<Client>>,
    /// What each connection is busy with.
    busy: Vec<Option<usize>>,
    /// Idle connections; the one used last is used next, as its caches are warm.
    idle: VecDeque<usize>,
    records: Vec<Record>,
    unanswered: usize,
}

/// Sends all of it and waits for the answers.
///
/// # Errors
///
/// When the server cannot be reached at the start.
pub(crate) fn run(plan: &Plan) -> Result<Recorded> {
    let arrivals = arrivals_us(plan.rate, plan.seconds, plan.seed);
    let mut generator = Generator::new(plan)?;
    for _ in 0..CONNECTIONS_FIRST {
        let index = generator.connect().context("cannot connect")?;
        generator.idle.push_back(index);
    }
    generator.start = clock::now();
    generator.run(&arrivals)?;
    Ok(Recorded { records: generator.records, connections: generator.clients.len() })
}

impl Generator {
    fn new(plan: &Plan) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", plan.path, plan.address);
        Ok(Self {
            epoll,
            timer,
            plan: plan.clone(),
            request: request.into_bytes(),
            start: clock::now(),
            clients: Vec::new(),
            busy: Vec::new(),
            idle: VecDeque::new(),
            records: Vec::new(),
            unanswered: 0,
        })
    }

    fn run(&mut self, arrivals: &[u64]) -> Result<()> {
        let end = Duration::from_secs(u64::from(self.plan.seconds)) + PATIENCE;
        let mut next = arrivals.iter().copied().peekable();
        let mut events = Vec::with_capacity(1024);
        loop {
            while let Some(planned_us) = next.next_if(|planned_us| *planned_us <= self.now_us()) {
                self.send(planned_us);
            }
            match next.peek() {
                Some(planned_us) => self.set_timer(*planned_us)?,
                None if self.unanswered == 0 || end < self.start.elapsed() => return Ok(()),
                None => {}
            }
            events.clear();
            // The second is for the end of patience.
            let longest = Timespec { tv_sec: 1, tv_nsec: 0 };
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&longest),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let index = event.data.u64();
                if index != TIMER {
                    self.receive(usize::try_from(index)?);
                }
            }
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Wakes the loop at this time. Setting it also takes back that it has rung.
    fn set_timer(&self, planned_us: u64) -> Result<()> {
        let left = Duration::from_micros(planned_us.saturating_sub(self.now_us()).max(1));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval: zero, it_value: Timespec::try_from(left)? };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }

    fn connect(&mut self) -> io::Result<usize> {
        let client = Client::connect(self.plan.address)?;
        let index = self.clients.len();
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &client.stream, data, epoll::EventFlags::IN)?;
        self.clients.push(Some(client));
        self.busy.push(None);
        Ok(index)
    }

    /// Sends the request that is due, or counts it as failed.
    fn send(&mut self, planned_us: u64) {
        let record = self.records.len();
        self.records.push(Record { planned_us, ..Record::default() });
        let idle = self.idle.pop_back();
        let is_full = idle.is_none() && CONNECTIONS_MAX <= self.clients.len();
        let index = idle.or_else(|| if is_full { None } else { self.connect().ok() });
        let Some(index) = index else { return };
        let sent_us = self.now_us();
        let sent = self.clients[index].as_mut().map(|client| client.send(&self.request));
        if matches!(sent, Some(Ok(()))) {
            self.records[record].sent_us = sent_us;
            self.busy[index] = Some(record);
            self.unanswered += 1;
        } else {
            self.clients[index] = None;
        }
    }

    fn receive(&mut self, index: usize) {
        let Some(client) = self.clients[index].as_mut() else { return };
        let progress = client.receive();
        let now_us = self.now_us();
        let record = self.busy[index].map(|record| &mut self.records[record]);
        let is_kept = match (progress, record) {
            (Progress::Nothing, _) | (Progress::Begun, None) => return,
            (Progress::Begun, Some(record)) => {
                if record.first_byte_us == 0 {
                    record.first_byte_us = now_us;
                }
                return;
            }
            (Progress::Complete(head), Some(record)) => {
                if record.first_byte_us == 0 {
                    record.first_byte_us = now_us;
                }
                record.done_us = now_us;
                record.status = head.status;
                record.service_us = head.service_us;
                !head.is_last
            }
            (Progress::Broken, _) | (Progress::Complete(_), None) => false,
        };
        if self.busy[index].take().is_some() {
            self.unanswered -= 1;
        }
        if is_kept {
            self.idle.push_back(index);
        } else {
            // Closing it also takes it out of the events.
            self.clients[index] = None;
            self.idle.retain(|idle| *idle != index);
        }
    }
}
