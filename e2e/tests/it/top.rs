//! `ostler top` in a real terminal: what it shows, what keys do, and how it leaves the terminal.

use ostler_e2e::terminal::Terminal;
use ostler_e2e::{Stack, process};
use rustix::process::Signal;

use crate::ask;

const SMALL: (u16, u16) = (24, 80);

#[tokio::test]
async fn a_held_request_is_on_the_screen_and_keys_change_the_view() {
    let stack = Stack::start("").await;
    let held = ask(&stack, "/sleep/60000").await;
    let mut top = Terminal::run(&stack, &["top", "--interval", "200ms"], SMALL);
    let screen = top.until(|screen| screen.contains("/sleep/60000")).await;
    assert!(screen.contains("LIVE") && screen.contains("1 requests (1)"), "{screen}");
    assert!(screen.contains("busy") && screen.contains("1/2"), "{screen}");

    top.send("3");
    top.until(|screen| screen.contains("3 workers (1)") && screen.contains("ready")).await;
    top.send("2");
    top.until(|screen| screen.contains("2 routes (")).await;
    top.send("4");
    top.until(|screen| screen.contains("4 events (")).await;
    top.send("1\t");
    top.until(|screen| screen.contains("pool probe") && screen.contains("/sleep/60000")).await;
    top.send("c ");
    top.until(|screen| screen.contains("sort cpu") && screen.contains("PAUSED")).await;
    top.send(" ?");
    top.until(|screen| screen.contains("Any key goes on.")).await;
    top.send("x");
    top.until(|screen| !screen.contains("Any key goes on.") && screen.contains("LIVE")).await;

    top.resize((40, 160));
    // There is room for the client only here.
    top.until(|screen| screen.contains("client") && screen.contains("127.0.0.1")).await;
    top.send("q");
    assert_eq!(top.ended().await, 0, "{}", top.text());
    top.expect_restored().await;
    drop(held);
}

#[tokio::test]
async fn the_terminal_is_given_back_however_it_ends() {
    let stack = Stack::start("").await;
    for end in ["\u{1b}", "\u{3}"] {
        let mut top = Terminal::run(&stack, &["top"], SMALL);
        top.until(|screen| screen.contains("LIVE")).await;
        top.send(end);
        assert_eq!(top.ended().await, 0, "{end:?}");
        top.expect_restored().await;
    }
    let mut top = Terminal::run(&stack, &["top"], SMALL);
    top.until(|screen| screen.contains("LIVE")).await;
    assert!(process::signal(top.pid(), Signal::TERM));
    assert_eq!(top.ended().await, 0);
    top.expect_restored().await;
}

#[tokio::test]
async fn it_does_not_outlive_its_terminal() {
    let stack = Stack::start("").await;
    let mut top = Terminal::run(&stack, &["top", "--interval", "100ms"], SMALL);
    top.until(|screen| screen.contains("LIVE")).await;
    top.hang_up();
    top.ended().await;
}

#[tokio::test]
async fn a_signal_ends_it_while_the_server_does_not_answer() {
    let stack = Stack::start("").await;
    let mut top = Terminal::run(&stack, &["top", "--interval", "100ms"], SMALL);
    top.until(|screen| screen.contains("LIVE")).await;
    stack.signal(Signal::STOP);
    let stopped = process::signal(top.pid(), Signal::TERM);
    let code = top.ended().await;
    stack.signal(Signal::CONT);
    assert!(stopped && code == 0, "{code}");
    top.expect_restored().await;
}

#[tokio::test]
async fn a_moment_that_is_named_is_asked_for_at_once() {
    let stack = Stack::start("").await;
    // One that no history reaches: the answer is why.
    let mut top = Terminal::run(&stack, &["top", "--at", "2001-09-09T01:46:40Z"], SMALL);
    top.until(|screen| screen.contains("Trying again; q ends.")).await;
    top.send("q");
    assert_eq!(top.ended().await, 0);
    top.expect_restored().await;
}

#[tokio::test]
async fn a_server_that_goes_away_is_told_and_asked_again() {
    let mut stack = Stack::start("").await;
    let mut top = Terminal::run(&stack, &["top", "--interval", "100ms"], SMALL);
    top.until(|screen| screen.contains("LIVE")).await;
    stack.signal(Signal::TERM);
    stack.ended().await;
    let screen = top.until(|screen| screen.contains("No answer since")).await;
    assert!(screen.contains("is ostler running?"), "{screen}");
    assert!(screen.contains("probe"), "what it said last stays: {screen}");
    top.send("q");
    assert_eq!(top.ended().await, 0);
    top.expect_restored().await;
}

#[tokio::test]
async fn without_a_terminal_it_names_the_command_that_needs_none() {
    let stack = Stack::start("").await;
    let ended = stack.command(&["top"]).await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.contains("ostler status"), "{}", ended.stderr);
}

#[tokio::test]
async fn status_is_coloured_in_a_terminal_and_nowhere_else() {
    let stack = Stack::start("").await;
    let ended = stack.command(&["status"]).await;
    assert!(ended.stdout.contains("probe") && !ended.stdout.contains('\u{1b}'), "{ended:?}");
    let mut terminal = Terminal::run(&stack, &["status"], SMALL);
    assert_eq!(terminal.ended().await, 0);
    let screen = terminal.until(|screen| screen.contains("probe")).await;
    assert!(screen.contains("Every pool has room"), "{screen}");
}
