//! The admin of a Django project as people meet it: in Chromium.

use std::fs;
use std::path::{Path, PathBuf};

use fantoccini::Locator;
use ostler_e2e::{Plan, Response, Stack, python};

use crate::browser::{DESKTOP, Page};

const PASSWORD: &str = "oats and hay";

/// More than Django keeps in memory, and more than is sent to a worker without a file.
const UPLOAD: usize = 3 << 20;

#[tokio::test]
async fn an_object_is_added_with_a_file_and_deleted_in_the_admin_of_django() {
    let stack = bookshop().start().await;
    let file = stack.folder().join("excerpt.txt");
    let text = "0123456789abcde\n".repeat(UPLOAD / 16);
    fs::write(&file, &text).unwrap();
    let admin = format!("http://{}/admin", stack.address());
    let page = Page::at(&format!("{admin}/"), DESKTOP).await;
    fill(&page, "#id_username", "admin").await;
    fill(&page, "#id_password", PASSWORD).await;
    click(&page, "input[type=submit]").await;
    seen(&page, "#user-tools", "Log out").await;

    page.client.goto(&format!("{admin}/catalogue/book/add/")).await.unwrap();
    fill(&page, "#id_title", "An ostler's day").await;
    fill(&page, "#id_year", "1899").await;
    fill(&page, "#id_excerpt", file.to_str().unwrap()).await;
    page.find("#id_author").await.select_by_index(1).await.unwrap();
    click(&page, "input[name=_save]").await;
    seen(&page, ".messagelist", "was added successfully").await;
    page.picture("django-admin").await;

    page.client.goto(&format!("{admin}/catalogue/book/?q=ostler")).await.unwrap();
    click(&page, ".field-title a").await;
    seen(&page, ".file-upload", "excerpts/excerpt").await;
    let url = page.client.current_url().await.unwrap();
    let book = url.path_segments().unwrap().nth(3).unwrap().to_owned();
    let path = format!("/books/{book}/excerpt/");
    assert!(get(&stack, &path).await.text() == text, "what comes back is what was uploaded");

    click(&page, ".deletelink").await;
    click(&page, "#content form input[type=submit]").await;
    seen(&page, ".messagelist", "was deleted successfully").await;
    assert_eq!(get(&stack, &path).await.status, 404);
    page.close().await;
    let ended = stack.stop().await;
    ended.expect_no_errors_logged();
    let is_failed = |line: &&str| {
        line.contains("\" 5") || line.contains("/static/admin") && line.contains("\" 4")
    };
    let failed: Vec<&str> = ended.access.lines().filter(is_failed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The example project, its database and its files, in the folder of the stack.
fn bookshop() -> Plan {
    let project = project();
    let project = project.display();
    let python = python::environment().join("bin/python");
    let manage = |command| format!("{} -B manage.py {command} >&2", python.display());
    let commands = ["migrate", "fill", "collectstatic --noinput"].map(manage).join(" && ");
    python::site("bookshop.wsgi:application")
        .environment("BOOKSHOP_ADMIN_PASSWORD", PASSWORD)
        .after(&format!("(export BOOKSHOP_DATA=\"$STACK_DIR/data\"; cd '{project}' && {commands})"))
        .with(&format!(
            "[pool.web]
             directory = '{project}'
             environment = {{ BOOKSHOP_DATA = '${{STACK_DIR}}/data', PYTHONDONTWRITEBYTECODE = '1' }}
             [origin.files]
             directory = '${{STACK_DIR}}/data/static'
             [[site]]
             route = [{{ path = '/static/', origin = 'files' }}, {{ path = '/', pool = 'web' }}]"
        ))
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/python/examples/django")
}

/// Asks for a path by a name that the project answers to.
async fn get(stack: &Stack, path: &str) -> Response {
    let asked = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stack.connect().await.exchange(asked).await
}

async fn fill(page: &Page, css: &str, text: &str) {
    page.find(css).await.send_keys(text).await.unwrap();
}

async fn click(page: &Page, css: &str) {
    page.find(css).await.click().await.unwrap();
}

/// Waits for a part of the page, and fails the test unless it has these words.
async fn seen(page: &Page, css: &str, words: &str) {
    let part = page.client.wait().for_element(Locator::Css(css)).await.unwrap();
    // Words that are shown in capitals are in small letters in the page.
    let text = part.html(true).await.unwrap();
    assert!(text.contains(words), "{css}: no {words:?} in {text}");
}
