//! Whether the page keeps itself fresh, with scripts and without.

use ostler_e2e::{Plan, Stack};
use rustix::process::Signal;
use serde_json::json;

use super::{DESKTOP, Eyes, PHONE, Page};
use crate::ask;

/// What a reader has done to the page, and what it says by now.
const STATE: &str = "
    return { mark: window.mark ?? null, focus: document.activeElement.getAttribute('href'),
             unfolded: document.querySelector('#others')?.open ?? null, scrolled: scrollY,
             text: document.body.innerText };";

#[tokio::test]
async fn numbers_change_in_place_and_the_reader_is_left_alone() {
    let stack = Stack::start("pool.probe.threads = 16").await;
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(ask(&stack, "/sleep/3600000?held").await);
    }
    stack.until_pool("probe", |pool| pool["busy"] == 12).await;
    // From here on nothing comes in above the cells: the lines of the last hour are there.
    let is_recorded = |status: &serde_json::Value| {
        let history = &status["server"]["history"];
        history.is_object() && history["from"] != history["until"]
    };
    stack.until(is_recorded).await;
    let page = Page::open(stack.status_address(), "?refresh=1", DESKTOP).await;
    page.run(
        "window.mark = 'same document';
         document.querySelector('#others summary').click();
         document.querySelector('a.cell').focus();
         scrollTo({ top: 200, behavior: 'instant' });",
    )
    .await;
    let before = page.run(STATE).await;
    assert_eq!(before["unfolded"], true, "{before}");
    let new = ask(&stack, "/sleep/3600000?new").await;
    let is_new = |state: &serde_json::Value| state["text"].as_str().unwrap().contains("?new");
    let after = page.until(STATE, is_new).await;
    for kept in ["mark", "focus", "unfolded", "scrolled"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    // A second update works on what the first one made.
    drop(held.pop());
    page.run("document.getElementById('pause').click();").await;
    let paused = page.run("return document.getElementById('pause').ariaPressed;").await;
    assert_eq!(paused, "true");
    drop((new, held));
    page.close().await;
}

#[tokio::test]
async fn without_scripts_the_page_is_loaded_anew() {
    let stack = Stack::start("").await;
    for eyes in [DESKTOP, PHONE] {
        let eyes = Eyes { has_scripts: false, ..eyes };
        let page = Page::open(stack.status_address(), "?refresh=1", eyes).await;
        let is_displayed = page.find("#pause").await.is_displayed().await.unwrap();
        assert!(!is_displayed, "nothing would be held still");
        let target = format!("/sleep/3600000?{}", eyes.width);
        let held = ask(&stack, &target).await;
        let mut ticks = tokio::time::interval(ostler_e2e::POLL);
        let deadline = tokio::time::Instant::now() + ostler_e2e::DEADLINE;
        while !page.client.source().await.unwrap().contains(&target) {
            ticks.tick().await;
            assert!(tokio::time::Instant::now() < deadline, "it never shows {target}");
        }
        page.picture(&format!("no-scripts-{}", eyes.width)).await;
        drop(held);
        page.close().await;
    }
}

#[tokio::test]
async fn a_page_whose_server_is_gone_says_so() {
    let mut stack = Plan::probe().start().await;
    let page = Page::open(stack.status_address(), "?refresh=1", DESKTOP).await;
    let note = "const note = document.querySelector('.stale-note');
                return getComputedStyle(note).display;";
    assert_eq!(page.run(note).await, "none");
    stack.signal(Signal::TERM);
    stack.ended().await;
    page.until(note, |display| *display == json!("block")).await;
    page.picture("server-gone").await;
    page.close().await;
}
