//! Everything the contest remembers, in one `SQLite` file.
//!
//! Scores and counts are kept beside the submissions that they follow from, in the same
//! transaction, so that a page needs one query for each thing it shows. Several processes may use
//! the file, and make it, at once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};

use crate::problems::{PROBLEMS, award, is_right};

/// How long one process waits for another's transaction, which takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a contestant stays signed in: a month.
pub(crate) const SESSION_SECONDS: i64 = 30 * 24 * 3600;

/// Contestants on the leader board.
const LEADERS: i64 = 100;

const SCHEMA: &str = "
    CREATE TABLE problem (
        id INTEGER PRIMARY KEY,
        slug TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        level TEXT NOT NULL,
        points INTEGER NOT NULL,
        statement TEXT NOT NULL,
        answer TEXT NOT NULL,
        solved_by INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE contestant (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE COLLATE NOCASE,
        password TEXT NOT NULL,
        score INTEGER NOT NULL DEFAULT 0,
        solved INTEGER NOT NULL DEFAULT 0,
        scored_at INTEGER
    ) STRICT;
    CREATE INDEX contestant_by_score ON contestant (score DESC, scored_at);
    CREATE TABLE session (
        token TEXT PRIMARY KEY,
        contestant INTEGER NOT NULL REFERENCES contestant,
        ends_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE submission (
        id INTEGER PRIMARY KEY,
        contestant INTEGER NOT NULL REFERENCES contestant,
        problem INTEGER NOT NULL REFERENCES problem,
        answer TEXT NOT NULL,
        points INTEGER,
        submitted_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX submission_by_contestant ON submission (contestant, problem);
    CREATE UNIQUE INDEX solved_once ON submission (contestant, problem) WHERE points IS NOT NULL;
    PRAGMA user_version = 1;
";

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database refused.
    #[error("database")]
    Database(#[from] rusqlite::Error),
    /// Its folder or lock file cannot be made.
    #[error("cannot prepare {path}")]
    Prepare { path: PathBuf, source: std::io::Error },
    /// There is no connection.
    #[error("no connection")]
    Closed,
}

/// Someone who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Viewer {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) score: i64,
}

/// A problem as a list and its page show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) id: i64,
    pub(crate) slug: String,
    pub(crate) title: String,
    pub(crate) level: String,
    pub(crate) points: i64,
    pub(crate) statement: String,
    /// How many contestants solved it.
    pub(crate) solved_by: i64,
    /// Points that the viewer got for it.
    pub(crate) awarded: Option<i64>,
}

/// One answer that a contestant gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) answer: String,
    /// Points, if it was right.
    pub(crate) points: Option<i64>,
    pub(crate) submitted_at: i64,
}

/// A line of the leader board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) score: i64,
    pub(crate) solved: i64,
    pub(crate) scored_at: Option<i64>,
}

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right {
        /// Awarded.
        points: i64,
    },
    Wrong,
    /// It was solved before: nothing changed.
    SolvedBefore,
    /// There is no such problem.
    NoProblem,
}

/// One connection to the database.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
}

impl Store {
    /// Makes and fills the database if it is not there.
    ///
    /// Under a file lock: two processes cannot both switch a new database to write-ahead logging.
    pub(crate) fn prepare(path: &Path) -> Result<(), StoreError> {
        let failed = |source| StoreError::Prepare { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = File::create(path.with_extension("sqlite-setup")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let Self { mut connection } = Self::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.query_row("PRAGMA user_version", (), |row| row.get(0))?;
        if version == 0 {
            transaction.execute_batch(SCHEMA)?;
            fill(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Opens a database that was prepared.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(report_query))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // With write-ahead logging a crash of the machine may lose the last submissions, no more.
        connection.pragma_update(None, "synchronous", "normal")?;
        Ok(Self { connection })
    }

    /// Who the session token belongs to.
    pub(crate) fn viewer(&self, token: &str, now: i64) -> Result<Option<Viewer>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT contestant.id, name, score FROM session
             JOIN contestant ON contestant.id = session.contestant
             WHERE token = ?1 AND ends_at > ?2",
        )?;
        let viewer =
            |row: &Row<'_>| Ok(Viewer { id: row.get(0)?, name: row.get(1)?, score: row.get(2)? });
        Ok(query.query_row((token, now), viewer).optional()?)
    }

    /// All problems, and what the viewer got for them.
    pub(crate) fn problems(&self, viewer: Option<i64>) -> Result<Vec<Problem>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT problem.id, slug, title, level, problem.points, '', solved_by, mine.points
             FROM problem LEFT JOIN submission AS mine ON mine.problem = problem.id
                 AND mine.contestant = ?1 AND mine.points IS NOT NULL
             ORDER BY problem.id",
        )?;
        Ok(query.query_map((viewer,), problem)?.collect::<Result<_, _>>()?)
    }

    /// One problem, and what the viewer got for it.
    pub(crate) fn problem(
        &self,
        slug: &str,
        viewer: Option<i64>,
    ) -> Result<Option<Problem>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT problem.id, slug, title, level, problem.points, statement, solved_by,
                    mine.points
             FROM problem LEFT JOIN submission AS mine ON mine.problem = problem.id
                 AND mine.contestant = ?1 AND mine.points IS NOT NULL
             WHERE slug = ?2",
        )?;
        Ok(query.query_row((viewer, slug), problem).optional()?)
    }

    /// The last answers of a contestant to a problem, latest first.
    pub(crate) fn attempts(
        &self,
        contestant: i64,
        problem: i64,
    ) -> Result<Vec<Attempt>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT answer, points, submitted_at FROM submission
             WHERE contestant = ?1 AND problem = ?2 ORDER BY id DESC LIMIT 10",
        )?;
        let attempt = |row: &Row<'_>| {
            Ok(Attempt { answer: row.get(0)?, points: row.get(1)?, submitted_at: row.get(2)? })
        };
        Ok(query.query_map((contestant, problem), attempt)?.collect::<Result<_, _>>()?)
    }

    /// The best contestants; of two with the same score, who had it first.
    pub(crate) fn leaders(&self) -> Result<Vec<Leader>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT id, name, score, solved, scored_at FROM contestant
             WHERE score > 0 ORDER BY score DESC, scored_at LIMIT ?1",
        )?;
        let leader = |row: &Row<'_>| {
            Ok(Leader {
                id: row.get(0)?,
                name: row.get(1)?,
                score: row.get(2)?,
                solved: row.get(3)?,
                scored_at: row.get(4)?,
            })
        };
        Ok(query.query_map((LEADERS,), leader)?.collect::<Result<_, _>>()?)
    }

    /// Adds a contestant. None: the name is taken.
    pub(crate) fn register(
        &self,
        name: &str,
        password_hash: &str,
    ) -> Result<Option<i64>, StoreError> {
        let inserted = self.connection.execute(
            "INSERT INTO contestant (name, password) VALUES (?1, ?2)",
            (name, password_hash),
        );
        match inserted {
            Ok(_) => Ok(Some(self.connection.last_insert_rowid())),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The contestant of that name, and the hash of the password.
    pub(crate) fn credentials(&self, name: &str) -> Result<Option<(i64, String)>, StoreError> {
        let query = "SELECT id, password FROM contestant WHERE name = ?1";
        let found = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(self.connection.query_row(query, (name,), found).optional()?)
    }

    /// Signs a contestant in, and forgets sessions that have ended.
    pub(crate) fn open_session(
        &self,
        contestant: i64,
        token: &str,
        now: i64,
    ) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM session WHERE ends_at <= ?1", (now,))?;
        self.connection.execute(
            "INSERT INTO session (token, contestant, ends_at) VALUES (?1, ?2, ?3)",
            (token, contestant, now.saturating_add(SESSION_SECONDS)),
        )?;
        Ok(())
    }

    /// Signs out.
    pub(crate) fn close_session(&self, token: &str) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM session WHERE token = ?1", (token,))?;
        Ok(())
    }

    /// Judges an answer and records what came of it.
    pub(crate) fn submit(
        &mut self,
        contestant: i64,
        slug: &str,
        answer: &str,
        now: i64,
    ) -> Result<Verdict, StoreError> {
        // Immediate: what is read here still holds when it is written.
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: Option<(i64, i64, String, i64, bool)> = transaction
            .query_row(
                "SELECT problem.id, problem.points, problem.answer, count(submission.id),
                        count(submission.points) > 0
                 FROM problem LEFT JOIN submission
                     ON submission.problem = problem.id AND submission.contestant = ?1
                 WHERE slug = ?2 GROUP BY problem.id",
                (contestant, slug),
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
            )
            .optional()?;
        let Some((problem, points, expected, before, solved)) = found else {
            return Ok(Verdict::NoProblem);
        };
        if solved {
            return Ok(Verdict::SolvedBefore);
        }
        let awarded = is_right(answer, &expected).then(|| award(points, before));
        transaction.execute(
            "INSERT INTO submission (contestant, problem, answer, points, submitted_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![contestant, problem, answer, awarded, now],
        )?;
        if let Some(points) = awarded {
            transaction.execute(
                "UPDATE contestant SET score = score + ?2, solved = solved + 1, scored_at = ?3
                 WHERE id = ?1",
                (contestant, points, now),
            )?;
            transaction.execute(
                "UPDATE problem SET solved_by = solved_by + 1 WHERE id = ?1",
                (problem,),
            )?;
        }
        transaction.commit()?;
        Ok(awarded.map_or(Verdict::Wrong, |points| Verdict::Right { points }))
    }
}

/// Tells the proxy of a statement, for whichever request it was executed.
#[expect(clippy::needless_pass_by_value, reason = "what the database calls it with")]
fn report_query(event: TraceEvent<'_>) {
    if let TraceEvent::Profile(_, took) = event {
        ostler_app::cost("db.query", 1, took);
    }
}

fn problem(row: &Row<'_>) -> rusqlite::Result<Problem> {
    Ok(Problem {
        id: row.get(0)?,
        slug: row.get(1)?,
        title: row.get(2)?,
        level: row.get(3)?,
        points: row.get(4)?,
        statement: row.get(5)?,
        solved_by: row.get(6)?,
        awarded: row.get(7)?,
    })
}

fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO problem (slug, title, level, points, statement, answer)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for problem in &PROBLEMS {
        insert.execute((
            problem.slug,
            problem.title,
            problem.level,
            problem.points,
            problem.statement,
            problem.answer,
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_start_at_once_make_one_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new folder").join("arena.sqlite");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Store::prepare(&path).unwrap());
            }
        });
        let problems = Store::open(&path).unwrap().problems(None).unwrap();
        assert_eq!(problems.len(), PROBLEMS.len());
        assert_eq!(problems[0].slug, PROBLEMS[0].slug);
    }

    #[test]
    fn a_contest_is_played_and_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arena.sqlite");
        Store::prepare(&path).unwrap();
        let mut store = Store::open(&path).unwrap();

        let ada = store.register("ada", "hash of ada").unwrap().unwrap();
        let eve = store.register("Eve", "hash of eve").unwrap().unwrap();
        assert_eq!(store.register("ADA", "other").unwrap(), None);
        assert_eq!(store.credentials("ada").unwrap(), Some((ada, "hash of ada".to_owned())));

        // 45 of 50 points: one answer was wrong before. The second right answer counts nothing.
        assert_eq!(store.submit(ada, "knight", "8", 10).unwrap(), Verdict::Wrong);
        assert_eq!(store.submit(ada, "knight", " 22 ", 11).unwrap(), Verdict::Right { points: 45 });
        assert_eq!(store.submit(ada, "knight", "22", 12).unwrap(), Verdict::SolvedBefore);
        assert_eq!(store.submit(eve, "no such", "22", 13).unwrap(), Verdict::NoProblem);
        assert_eq!(store.submit(eve, "knight", "22", 14).unwrap(), Verdict::Right { points: 50 });

        Store::prepare(&path).unwrap();
        let store = Store::open(&path).unwrap();
        let knight = store.problem("knight", Some(ada)).unwrap().unwrap();
        assert_eq!((knight.solved_by, knight.awarded), (2, Some(45)));
        let attempts = store.attempts(ada, knight.id).unwrap();
        let answers: Vec<_> =
            attempts.iter().map(|attempt| (attempt.answer.as_str(), attempt.points)).collect();
        assert_eq!(answers, [(" 22 ", Some(45)), ("8", None)]);
        assert_eq!(
            store.leaders().unwrap(),
            [leader(eve, "Eve", 50, 14), leader(ada, "ada", 45, 11)]
        );
        let open = store.problems(Some(ada)).unwrap();
        let solved: Vec<_> = open.iter().filter(|problem| problem.awarded.is_some()).collect();
        assert_eq!(solved.len(), 1);
    }

    #[test]
    fn a_session_ends_when_it_is_closed_and_after_a_month() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arena.sqlite");
        Store::prepare(&path).unwrap();
        let store = Store::open(&path).unwrap();
        let ada = store.register("ada", "hash").unwrap().unwrap();

        store.open_session(ada, "one", 100).unwrap();
        store.open_session(ada, "two", 100).unwrap();
        let viewer = Some(Viewer { id: ada, name: "ada".to_owned(), score: 0 });
        assert_eq!(store.viewer("one", 101).unwrap(), viewer);
        assert_eq!(store.viewer("three", 101).unwrap(), None);
        store.close_session("one").unwrap();
        assert_eq!(store.viewer("one", 101).unwrap(), None);
        assert_eq!(store.viewer("two", 99 + SESSION_SECONDS).unwrap(), viewer);
        assert_eq!(store.viewer("two", 100 + SESSION_SECONDS).unwrap(), None);
    }

    fn leader(id: i64, name: &str, score: i64, at: i64) -> Leader {
        Leader { id, name: name.to_owned(), score, solved: 1, scored_at: Some(at) }
    }
}
