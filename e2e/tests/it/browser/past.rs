//! The way into the past: links, a form, and a slider that changes the page in place.

use fantoccini::Locator;

use super::layout::sample_server;
use super::{DESKTOP, Eyes, Page};

const MOMENT: &str = "
    return { note: document.querySelector('.is-past')?.innerText ?? '', address: location.search,
             mark: window.mark ?? null };";

#[tokio::test]
async fn the_slider_shows_another_moment_in_place_and_its_end_is_now() {
    let server = sample_server().await;
    let page = Page::open(server.address(), "", DESKTOP).await;
    let slide = "
        const range = document.getElementById('range');
        window.mark = 'same document';
        range.value = VALUE;
        range.dispatchEvent(new Event('input', { bubbles: true }));";
    page.run(&slide.replace("VALUE", "1767234545")).await;
    let shows = |text: &'static str| {
        move |state: &serde_json::Value| state["note"].as_str().unwrap().contains(text)
    };
    let past = page.until(MOMENT, shows("You see the past: 2026-01-01 02:29:05 UTC.")).await;
    assert_eq!(past["mark"], "same document");
    page.until(MOMENT, |state| state["address"] == "?at=2026-01-01T02:29:05Z").await;
    page.picture("past-1280").await;
    page.run(&slide.replace("VALUE", "range.max")).await;
    page.until(MOMENT, |state| state["note"] == "" && state["address"] == "").await;
    page.close().await;
}

#[tokio::test]
async fn links_and_a_form_lead_to_a_moment_without_scripts() {
    let server = sample_server().await;
    let page = Page::open(server.address(), "", Eyes { has_scripts: false, ..DESKTOP }).await;
    page.client.find(Locator::LinkText("\u{2212}1 h")).await.unwrap().click().await.unwrap();
    assert!(page.client.source().await.unwrap().contains("You see the past: 2026-01-01 02:25:45"));
    page.find(".past button").await.click().await.unwrap();
    let source = page.client.source().await.unwrap();
    assert!(source.contains("You see the past: 2026-01-01 02:25:45"), "the form leads there too");
    assert!(server.heads().iter().any(|head| head.contains("at=2026-01-01T02%3A25%3A45")));
    page.client.find(Locator::LinkText("Back to now")).await.unwrap().click().await.unwrap();
    assert!(!page.client.source().await.unwrap().contains("You see the past"));
    page.close().await;
}
