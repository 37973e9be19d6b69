//! The way of a new user, as the README has it: a new Django project, one file, `ostler run`.

use ostler_e2e::{Plan, python};

const README: &str = include_str!("../../../../README.md");

/// The lines that a new user copies, in front of their first and behind their last one.
const BLOCK: (&str, &str) = ("```sh\npython3 -m venv venv", "```\n");

/// Goal: what the README tells a new user to type is all there is to type. Method: its lines, with
/// a virtual environment that is there already, and with ports that the kernel chooses.
#[tokio::test]
async fn a_new_django_project_is_served_after_the_lines_of_the_readme() {
    let (_, block) = README.split_once(BLOCK.0).expect("its first line");
    let (block, _) = block.split_once(BLOCK.1).expect("the end of the block");
    let lines: Vec<&str> = block.lines().collect();
    assert!(lines.len() < 10, "{lines:#?}");
    let (install, lines) = lines.split_first().unwrap();
    assert_eq!(install.trim(), "&& venv/bin/pip install django");
    let (run, lines) = lines.split_last().unwrap();
    assert_eq!(*run, "ostler run -c site.toml");
    let (before, config) = lines.split_at(1);
    let config = config.join("\n");
    let config = config.strip_prefix("cat > site.toml <<END\n").unwrap();
    let config = config.strip_suffix("\nEND").unwrap();

    let environment = python::environment();
    let before = format!("ln -s {} venv && {}", environment.display(), before[0]);
    let plan = Plan::bare().with(config).after(&before);
    let stack =
        plan.with("listener = [{ name = 'public', address = '127.0.0.1:0' }]").start().await;
    // What a browser sends: Django answers for no other host.
    let asked = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
    let welcome = stack.connect().await.exchange(asked).await;
    assert_eq!(welcome.status, 200, "{}", welcome.text());
    assert!(welcome.text().contains("The install worked successfully!"), "{}", welcome.text());
    stack.stop().await.expect_no_errors_logged();
}
