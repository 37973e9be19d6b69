//! The paths of the site: which page answers a request, and what a form does.

use std::error::Error;

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use maud::Markup;
use ostler_app::{Body, Request, RequestExt, Response, ResponseBody};

use crate::form::{Form, cookie, is_from_here, is_name, safe_path};
use crate::page::{self, Account, Frame};
use crate::store::{SESSION_SECONDS, Store, Verdict, Viewer};
use crate::{assets, password};

const SESSION_COOKIE: &str = "arena_session";

/// Longest answer that is judged.
const MAX_ANSWER_BYTES: usize = 200;

/// Longest password that is hashed, so that hashing takes no longer than it should.
const MAX_PASSWORD_BYTES: usize = 200;

/// Anything that makes a page impossible without being the visitor's fault.
type Failure = Box<dyn Error>;

/// A request, and who sent it.
struct Visit<'a> {
    store: &'a mut Store,
    head: &'a Parts,
    viewer: Option<Viewer>,
    now: i64,
}

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    Problems,
    Problem(&'a str),
    Leaders,
    Register,
    Login,
    Logout,
    Nowhere,
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Self {
        match path {
            "/" => Self::Problems,
            "/leaders" => Self::Leaders,
            "/register" => Self::Register,
            "/login" => Self::Login,
            "/logout" => Self::Logout,
            _ => path.strip_prefix("/problems/").map_or(Self::Nowhere, Self::Problem),
        }
    }
}

/// Answers a request. Never fails: an error becomes a page.
pub(crate) fn answer(store: &mut Store, request: Request, now: i64) -> Response {
    let (head, body) = request.into_parts();
    if let Some(name) = head.uri.path().strip_prefix("/static/") {
        return asset(name);
    }
    visit(store, &head, body, now).unwrap_or_else(|error| failed(&*error))
}

/// What a visitor sees when the site is at fault. Why, is on standard error.
#[expect(clippy::print_stderr, reason = "a worker's log is its standard error")]
pub(crate) fn failed(error: &(dyn Error + 'static)) -> Response {
    let mut reasons = error.to_string();
    let mut reason = error.source();
    while let Some(error) = reason {
        reasons = format!("{reasons}: {error}");
        reason = error.source();
    }
    eprintln!("arena: {reasons}");
    let frame = Frame { viewer: None, path: "", now: 0 };
    let text = "That did not work, and it is not your fault. Please try again in a while.";
    html(StatusCode::INTERNAL_SERVER_ERROR, page::apology(&frame, "Sorry", text))
}

fn visit(store: &mut Store, head: &Parts, body: Body, now: i64) -> Result<Response, Failure> {
    let place = Place::of(head.uri.path());
    let viewer = match cookie(&head.headers, SESSION_COOKIE) {
        Some(token) => store.viewer(token, now)?,
        None => None,
    };
    let visit = Visit { store, head, viewer, now };
    match head.method {
        Method::GET | Method::HEAD => visit.show(place),
        Method::POST if is_from_here(&head.headers) => match Form::read(body) {
            Ok(form) => visit.take(place, &form),
            // Whoever sent half a form has left.
            Err(_) => Ok(visit.apologise(StatusCode::BAD_REQUEST, "Half a form", "Try again.")),
        },
        Method::POST => {
            let text = "This form was sent from another site, so nothing was done.";
            Ok(visit.apologise(StatusCode::FORBIDDEN, "Not from here", text))
        }
        _ => {
            let mut response =
                visit.apologise(StatusCode::METHOD_NOT_ALLOWED, "Not possible", "Not that way.");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            Ok(response)
        }
    }
}

impl Visit<'_> {
    /// Answers a GET.
    fn show(self, place: Place<'_>) -> Result<Response, Failure> {
        let viewer = self.viewer.as_ref().map(|viewer| viewer.id);
        let page = match place {
            Place::Problems => page::problems(&self.frame(), &self.store.problems(viewer)?),
            Place::Problem(slug) => match self.store.problem(slug, viewer)? {
                Some(problem) => {
                    let attempts = match viewer {
                        Some(viewer) => self.store.attempts(viewer, problem.id)?,
                        None => Vec::new(),
                    };
                    page::problem(&self.frame(), &problem, &attempts)
                }
                None => return Ok(self.not_found()),
            },
            Place::Leaders => page::leaders(&self.frame(), &self.store.leaders()?),
            Place::Register | Place::Login => {
                let query = Form::parse(self.head.uri.query().unwrap_or("").as_bytes());
                let next = safe_path(query.field("next"));
                let is_new = place == Place::Register;
                let account = Account { is_new, name: "", next, mistake: None };
                page::account(&self.frame(), &account)
            }
            Place::Logout => return see_other("/"),
            Place::Nowhere => return Ok(self.not_found()),
        };
        Ok(html(StatusCode::OK, page))
    }

    /// Answers a POST.
    fn take(self, place: Place<'_>, form: &Form) -> Result<Response, Failure> {
        match place {
            Place::Problem(slug) => self.judge(slug, form),
            Place::Register => self.register(form),
            Place::Login => self.login(form),
            Place::Logout => {
                if let Some(token) = cookie(&self.head.headers, SESSION_COOKIE) {
                    self.store.close_session(token)?;
                }
                let mut response = see_other("/")?;
                self.set_session(&mut response, "", 0)?;
                Ok(response)
            }
            Place::Problems | Place::Leaders | Place::Nowhere => Ok(self.not_found()),
        }
    }

    fn judge(self, slug: &str, form: &Form) -> Result<Response, Failure> {
        let Some(viewer) = &self.viewer else {
            let next: String = form_urlencoded::byte_serialize(self.path().as_bytes()).collect();
            return see_other(&format!("/login?next={next}"));
        };
        let answer = form.field("answer").trim();
        if answer.is_empty() || MAX_ANSWER_BYTES < answer.len() {
            return see_other(self.path());
        }
        match self.store.submit(viewer.id, slug, answer, self.now)? {
            // The page shows what came of it.
            Verdict::Right { .. } | Verdict::Wrong | Verdict::SolvedBefore => {
                see_other(self.path())
            }
            Verdict::NoProblem => Ok(self.not_found()),
        }
    }

    fn register(self, form: &Form) -> Result<Response, Failure> {
        let (name, password) = (form.field("name").trim(), form.field("password"));
        if !is_name(name) {
            return Ok(self.account_again(true, form, "That is no name for the leader board."));
        }
        if password.chars().count() < 8 || MAX_PASSWORD_BYTES < password.len() {
            return Ok(self.account_again(true, form, "The password is too short or too long."));
        }
        match self.store.register(name, &password::hash(password)?)? {
            Some(contestant) => self.sign_in(contestant, form),
            None => Ok(self.account_again(true, form, "That name is taken.")),
        }
    }

    fn login(self, form: &Form) -> Result<Response, Failure> {
        let (name, password) = (form.field("name").trim(), form.field("password"));
        match self.store.credentials(name)? {
            Some((contestant, hash))
                if password.len() <= MAX_PASSWORD_BYTES && password::is_right(password, &hash) =>
            {
                self.sign_in(contestant, form)
            }
            Some(_) | None => {
                Ok(self.account_again(false, form, "The name or the password is wrong."))
            }
        }
    }

    fn sign_in(self, contestant: i64, form: &Form) -> Result<Response, Failure> {
        let token = password::token()?;
        self.store.open_session(contestant, &token, self.now)?;
        let mut response = see_other(safe_path(form.field("next")))?;
        self.set_session(&mut response, &token, SESSION_SECONDS)?;
        Ok(response)
    }

    fn set_session(
        &self,
        response: &mut Response,
        token: &str,
        seconds: i64,
    ) -> Result<(), Failure> {
        let secure = if self.head.is_secure() { "; Secure" } else { "" };
        let cookie = format!(
            "{SESSION_COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        );
        response.headers_mut().insert(SET_COOKIE, cookie.try_into()?);
        Ok(())
    }

    fn account_again(&self, is_new: bool, form: &Form, mistake: &str) -> Response {
        let (name, next) = (form.field("name"), safe_path(form.field("next")));
        let account = Account { is_new, name, next, mistake: Some(mistake) };
        html(StatusCode::UNPROCESSABLE_ENTITY, page::account(&self.frame(), &account))
    }

    fn not_found(&self) -> Response {
        let text = "There is no such page. It may never have been.";
        self.apologise(StatusCode::NOT_FOUND, "Not found", text)
    }

    fn apologise(&self, status: StatusCode, title: &str, text: &str) -> Response {
        html(status, page::apology(&self.frame(), title, text))
    }

    fn frame(&self) -> Frame<'_> {
        Frame { viewer: self.viewer.as_ref(), path: self.path(), now: self.now }
    }

    fn path(&self) -> &str {
        self.head.uri.path()
    }
}

fn html(status: StatusCode, page: Markup) -> Response {
    let mut response = Response::new(ResponseBody::from(page.into_string()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // A page is for who asked: it has their name on it.
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let policy = "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn see_other(path: &str) -> Result<Response, Failure> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(path)?);
    Ok(response)
}

fn asset(name: &str) -> Response {
    let Some((kind, bytes)) = assets::find(name) else {
        let mut response = Response::new(ResponseBody::from("not found\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut response = Response::new(ResponseBody::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_for_one_place() {
        for (path, expected) in [
            ("/", Place::Problems),
            ("/problems/knight", Place::Problem("knight")),
            ("/problems", Place::Nowhere),
            ("/leaders", Place::Leaders),
            ("/leaders/", Place::Nowhere),
        ] {
            assert_eq!(Place::of(path), expected, "{path}");
        }
    }

    #[test]
    fn a_visitor_registers_answers_leads_and_signs_out() {
        let site = Site::new();
        let (status, page, _) = site.get("/", "");
        assert!(status == 200 && page.contains("A knight in the corner"), "{page}");

        let (status, _, fields) = site.post("/problems/knight", "", "answer=22");
        assert_eq!((status, &fields["location"]), (303, &at("/login?next=%2Fproblems%2Fknight")));

        let form = "name=ada&password=hay+and+oats&next=/problems/knight";
        let (status, _, fields) = site.post("/register", "", form);
        assert_eq!((status, &fields["location"]), (303, &at("/problems/knight")));
        let cookie = fields["set-cookie"].to_str().unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
        let ada = cookie.split(';').next().unwrap();

        assert_eq!(site.post("/problems/knight", ada, "answer=8").0, 303);
        assert!(site.get("/problems/knight", ada).1.contains("That was not it."));
        assert_eq!(site.post("/problems/knight", ada, "answer=22").0, 303);
        assert!(site.get("/problems/knight", ada).1.contains("Solved, for 45 points."));
        let (_, board, _) = site.get("/leaders", ada);
        assert!(board.contains("<td>ada</td><td class=\"number\">45</td>"), "{board}");

        assert_eq!(site.post("/logout", ada, "").0, 303);
        assert!(site.get("/", ada).1.contains("Sign in"));
        let wrong = site.post("/login", "", "name=ada&password=hay");
        assert!(wrong.0 == 422 && wrong.1.contains("The name or the password is wrong."));
        assert_eq!(site.post("/login", "", "name=Ada&password=hay+and+oats").0, 303);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_page() {
        let site = Site::new();
        for (path, form, expected, text) in [
            ("/register", "name=a&password=12345678", 422, "That is no name"),
            ("/register", "name=ada&password=1234567", 422, "The password is too short"),
            ("/problems/none", "answer=1", 303, ""),
            ("/", "", 404, "Not found"),
        ] {
            let (status, page, _) = site.post(path, "", form);
            assert!(status == expected && page.contains(text), "{path} {form}: {status} {page}");
        }
        for path in ["/problems/none", "/problems/", "/nothing", "/static/none.css"] {
            assert_eq!(site.get(path, "").0, 404, "{path}");
        }
        let foreign = http::Request::post("/register")
            .header("host", "arena.test")
            .header("origin", "https://evil.test");
        assert_eq!(site.send(foreign, "name=ada&password=12345678").0, 403);
        assert_eq!(site.send(http::Request::delete("/"), "").0, 405);
        assert_eq!(site.get("/static/arena.css", "").0, 200);
    }

    /// A site with a database of its own.
    struct Site {
        folder: tempfile::TempDir,
    }

    type Seen = (u16, String, http::HeaderMap);

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Store::prepare(&folder.path().join("arena.sqlite")).unwrap();
            Self { folder }
        }

        fn get(&self, path: &str, cookie: &str) -> Seen {
            self.send(http::Request::get(path).header("cookie", cookie), "")
        }

        fn post(&self, path: &str, cookie: &str, form: &str) -> Seen {
            self.send(http::Request::post(path).header("cookie", cookie), form)
        }

        fn send(&self, head: http::request::Builder, form: &str) -> Seen {
            let request = head.body(Body::from(form.to_owned())).unwrap();
            let mut store = Store::open(&self.folder.path().join("arena.sqlite")).unwrap();
            let response = answer(&mut store, request, 1_000_000);
            let (head, body) = response.into_parts();
            let text = String::from_utf8(body.as_bytes().unwrap().to_vec()).unwrap();
            (head.status.as_u16(), text, head.headers)
        }
    }

    fn at(path: &str) -> HeaderValue {
        path.parse().unwrap()
    }
}
