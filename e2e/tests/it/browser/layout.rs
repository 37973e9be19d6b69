//! Whether the page is readable and usable, whatever it is looked at with.

use fantoccini::key::Key;
use ostler_e2e::server::Reply;
use ostler_e2e::{Server, Stack};
use ostler_status::{CONTENT_SECURITY_POLICY, HtmlOptions, html};
use serde_json::json;

use super::{DESKTOP, Eyes, PHONE, Page, sample};
use crate::ask;

/// The page with every part of it, served as the proxy serves it.
#[tokio::test]
async fn every_part_of_the_page_is_readable_on_a_desktop_and_a_phone_light_and_dark() {
    let server = sample_server().await;
    for eyes in [DESKTOP, PHONE] {
        for is_dark in [false, true] {
            let eyes = Eyes { is_dark, ..eyes };
            let page = Page::open(server.address(), "", eyes).await;
            let shade = if is_dark { "dark" } else { "light" };
            page.picture(&format!("sample-{}-{shade}", eyes.width)).await;
            page.run("document.querySelectorAll('details').forEach((one) => one.open = true);")
                .await;
            assert_eq!(page.run("return problems();").await, json!([]), "{eyes:?}");
            let first = page.run("return findings();").await;
            assert!(first.as_array().is_some_and(|findings| 3 <= findings.len()), "{first}");
            let height = page.run("return document.documentElement.scrollHeight;").await;
            let height = u32::try_from(height.as_u64().unwrap()).unwrap();
            page.close().await;
            let whole = Page::open(server.address(), "", Eyes { height, ..eyes }).await;
            whole.picture(&format!("sample-{}-{shade}-whole", eyes.width)).await;
            whole.close().await;
        }
    }
}

#[tokio::test]
async fn a_real_page_is_readable_on_a_desktop_and_a_phone() {
    let stack = Stack::start("pool.probe.threads = 1").await;
    let held = ask(&stack, "/sleep/3600000").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let queued = ask(&stack, "/sleep/3600000").await;
    stack.until_pool("probe", |pool| pool["queued"] == 1).await;
    for eyes in [DESKTOP, PHONE] {
        let page = Page::open(stack.status_address(), "", eyes).await;
        page.picture(&format!("real-{}", eyes.width)).await;
        assert_eq!(page.run("return problems();").await, json!([]), "{eyes:?}");
        page.until_found(&["Pool probe is full", "1 of 1 threads busy", "1 of"]).await;
        page.close().await;
    }
    drop((held, queued));
}

#[tokio::test]
async fn the_keyboard_reaches_every_request_from_its_cell() {
    let server = sample_server().await;
    let page = Page::open(server.address(), "", DESKTOP).await;
    let cells = page.run("return document.querySelectorAll('a.cell').length;").await;
    let mut reached = 0;
    // Every focusable element of the page has its turn before the first one comes again.
    for _ in 0..200 {
        page.client.active_element().await.unwrap().send_keys(&Key::Tab.to_string()).await.unwrap();
        let focus = page.run(FOCUS).await;
        if focus["isCell"] == true {
            reached += 1;
            assert_eq!(focus["isSeen"], true, "the focus is to be seen: {focus}");
        }
        if focus["isStuck"] == true {
            break;
        }
    }
    // The last pool's stuck cell comes behind those of the other pool.
    assert!(0 < reached && reached <= cells.as_u64().unwrap(), "{reached} of {cells}");
    page.client.active_element().await.unwrap().send_keys(&Key::Enter.to_string()).await.unwrap();
    let row = page.run("return document.querySelector(':target').innerText;").await;
    assert!(row.as_str().is_some_and(|row| row.contains("/report/<all>")), "{row}");
    page.close().await;
}

const FOCUS: &str = "
    const { classList } = document.activeElement;
    const { outlineStyle } = getComputedStyle(document.activeElement);
    return { isCell: classList.contains('cell'), isStuck: classList.contains('stuck'),
             isSeen: outlineStyle === 'solid' };";

/// Serves the page of the sample, of the moment that is asked for.
pub(super) async fn sample_server() -> Server {
    Server::start(|head| {
        let target = head.split(' ').nth(1).unwrap_or_default();
        // As far as a form's field needs it.
        let at = target.split_once("at=").map(|(_, at)| at.replace("%3A", ":"));
        let at = at.and_then(|at| at.parse().ok());
        let options = HtmlOptions { at, refresh: Some(1), ..HtmlOptions::default() };
        let page = html(&sample::snapshot(), Some(&sample::trends()), &options);
        let length = page.len();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n";
        let policy = CONTENT_SECURITY_POLICY;
        Reply::Keep(
            format!(
                "{head}Content-Security-Policy: {policy}\r\nContent-Length: {length}\r\n\r\n{page}"
            )
            .into_bytes(),
        )
    })
    .await
}
