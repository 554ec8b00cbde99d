//! The router: patterns, precedence, parameters, and messages that name the fix.
#![allow(clippy::unwrap_used)]

use streamconductor_core::handshake::{RouteSettings, Router};

/// A pattern and the parameters of a path.
type Found = (&'static str, &'static [(&'static str, &'static str)]);

fn router(patterns: &[&str]) -> Router {
    let mut router = Router::new();
    for (index, pattern) in patterns.iter().enumerate() {
        assert_eq!(router.add(pattern, RouteSettings::default()), Ok(index));
    }
    router
}

/// The pattern that `path` leads to, and its parameters.
fn find(router: &Router, path: &str) -> Option<(String, Vec<(String, String)>)> {
    let (index, parameters) = router.find(path)?;
    let parameters = parameters.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    Some((router.pattern(index).unwrap().to_owned(), parameters))
}

#[test]
fn paths_lead_to_the_route_and_parameters_they_name() {
    let router = router(&[
        "/rooms/{room}",
        "/files/{rest:path}",
        "/rooms/lobby",
        "/rooms/{room}/{seat}",
        "/",
        "/räume und mehr",
        "/slash/",
        "/{any}",
    ]);
    let expected: [(&str, Option<Found>); 20] = [
        ("/", Some(("/", &[]))),
        ("/rooms/7", Some(("/rooms/{room}", &[("room", "7")]))),
        ("/rooms/lobby", Some(("/rooms/lobby", &[]))),
        ("/rooms/l%6Fbby", Some(("/rooms/lobby", &[]))),
        ("/rooms/Lobby", Some(("/rooms/{room}", &[("room", "Lobby")]))),
        ("/rooms/a%20%C3%A9%2Fb+c", Some(("/rooms/{room}", &[("room", "a é/b+c")]))),
        ("/rooms/7/3", Some(("/rooms/{room}/{seat}", &[("room", "7"), ("seat", "3")]))),
        ("/rooms/7/3/1", None),
        ("/rooms/", None),
        ("/rooms//3", None),
        ("/files/", Some(("/files/{rest:path}", &[("rest", "")]))),
        ("/files/a//b%2Fc/", Some(("/files/{rest:path}", &[("rest", "a//b/c/")]))),
        ("/files", Some(("/{any}", &[("any", "files")]))),
        ("/r%C3%A4ume%20und%20mehr", Some(("/räume und mehr", &[]))),
        ("/slash/", Some(("/slash/", &[]))),
        ("/slash", Some(("/{any}", &[("any", "slash")]))),
        ("/%zz", None),
        ("/%ff", None),
        ("*", None),
        ("", None),
    ];
    for (path, expected) in expected {
        let found = find(&router, path);
        let found = found.as_ref().map(|(pattern, parameters)| {
            (
                pattern.as_str(),
                parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            )
        });
        assert_eq!(found, expected.map(|(pattern, parameters)| (pattern, parameters.to_vec())), "{path}");
    }
}

#[test]
fn exact_routes_go_first_and_the_others_in_the_order_of_registration() {
    let router = router(&["/{rest:path}", "/{name}", "/exact"]);
    assert_eq!(find(&router, "/exact").unwrap().0, "/exact");
    assert_eq!(find(&router, "/other").unwrap().0, "/{rest:path}");
}

#[test]
fn a_pattern_that_cannot_be_a_route_says_why() {
    for (pattern, problem) in [
        ("", "must begin with \"/\""),
        ("chat", "must begin with \"/\""),
        ("/chat?x", "'?' cannot stand in a path; write it decoded, without query or fragment"),
        ("/a%20b", "'%' cannot stand in a path; write it decoded, without query or fragment"),
        ("/a\n", "'\\n' cannot stand in a path; write it decoded, without query or fragment"),
        ("/a//b", "has an empty segment (\"//\")"),
        ("/{a}.json", "segment \"{a}.json\": a parameter is a whole segment, {name} or {name:path}"),
        ("/{a", "segment \"{a\": a parameter is a whole segment, {name} or {name:path}"),
        ("/{}", "parameter \"\" is not a name of letters, digits and underscores"),
        ("/{1st}", "parameter \"1st\" is not a name of letters, digits and underscores"),
        ("/{a}{b}", "parameter \"a}{b\" is not a name of letters, digits and underscores"),
        ("/{a}/{a}", "parameter \"a\" occurs twice"),
        ("/{a:path}/b", "{a:path} takes the rest, so it must come last"),
        ("/{a:int}", "{a:int}: only {a} and {a:path} are known"),
    ] {
        let error = Router::new().add(pattern, RouteSettings::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("route {pattern:?}: {problem}"));
    }
}

#[test]
fn a_second_route_for_the_same_paths_is_refused() {
    let mut router = router(&["/chat", "/rooms/{room}", "/files/{rest:path}"]);
    for (pattern, existing) in
        [("/chat", "/chat"), ("/rooms/{name}", "/rooms/{room}"), ("/files/{path:path}", "/files/{rest:path}")]
    {
        let error = router.add(pattern, RouteSettings::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("route {pattern:?}: the same paths already belong to {existing:?}")
        );
    }
    assert!(router.add("/rooms/{name:path}", RouteSettings::default()).is_ok());
}

#[test]
fn subprotocols_of_a_route_are_tokens_and_never_carry_tokens() {
    for name in ["", "two words", "a,b", "caf\u{e9}", "bearer.x"] {
        let settings = RouteSettings { subprotocols: vec!["chat".into(), name.into()], origins: None };
        let message = Router::new().add("/", settings).unwrap_err().to_string();
        assert!(message.starts_with(&format!("route \"/\": subprotocol {name:?}")), "{message}");
    }
}

#[test]
fn long_paths_and_many_routes_stay_linear() {
    let mut router = Router::new();
    for index in 0..500 {
        router.add(&format!("/{index}/{{a}}/{{b:path}}"), RouteSettings::default()).unwrap();
    }
    let path = "/x".repeat(4_096);
    assert!(router.find(&path).is_none());
    let (index, parameters) = router.find(&format!("/499{path}")).unwrap();
    assert_eq!((index, parameters.len()), (499, 2));
}
