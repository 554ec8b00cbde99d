//! Receives upgrades with good and bad tokens, and words about their lives · looks at what the client is answered and
//! when it is closed · owns the promise that nobody is in without a token, nor for longer than it lives.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "functions that only tests call may fail as a test does"
)]

mod simulation;

use std::sync::Arc;

use simulation::*;
use streamconductor_core::close::{By, CloseCode};
use streamconductor_core::handshake::Request;
use streamconductor_core::pool::Usage;
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::Event;
use streamconductor_core::shard::tokens::{Claimed, TokenRefusal, Tokens};
use streamconductor_core::stats::Outcome;
use streamconductor_core::time::Timestamp;

/// Takes `<user>` for a token that lives for ten seconds, and "bad" for one that breaks a rule.
struct Names;

impl Tokens for Names {
    fn verify(&self, request: &Request, now: Timestamp) -> Result<Claimed, TokenRefusal> {
        match request.bearer_token(None) {
            None => Err(TokenRefusal::Missing),
            Some("bad") => Err(TokenRefusal::Invalid("the token has expired")),
            Some(user) => Ok(Claimed {
                user: Some(user.into()),
                expires_at: now + seconds(10),
                claims: format!("{{\"sub\":\"{user}\"}}").into(),
            }),
        }
    }
}

fn with_tokens(change: impl FnOnce(&mut Setup)) -> Server {
    Server::with(|setup| {
        setup.tokens = Some(Arc::new(Names));
        change(setup);
    })
}

/// A socket that asks to be upgraded with this token.
fn ask(server: &mut Server, token: Option<&str>) -> Client {
    let mut head = upgrade("/chat");
    if let Some(token) = token {
        head.truncate(head.len() - 2);
        head.extend_from_slice(format!("Authorization: Bearer {token}\r\n\r\n").as_bytes());
    }
    let client = server.accept(0).unwrap();
    server.send(&client, &head);
    client
}

/// The code of the Close that has come.
fn closed_with(client: &mut Client) -> Option<u16> {
    assert_eq!(client.status(), 101, "{}", client.head());
    match &client.got()[..] {
        [] => None,
        [Got::Close(code, _)] => Some(*code),
        other => panic!("{other:?}"),
    }
}

fn user_of(server: &mut Server, client: &Client) -> Option<String> {
    server.view(client).unwrap().user.map(|user| user.to_string())
}

#[test]
fn without_a_good_token_it_is_a_401_before_a_slot_is_taken_or_the_application_hears_of_it() {
    for (token, challenge, reason) in [
        (None, "WWW-Authenticate: Bearer\r\n", "a bearer token is needed"),
        (Some("bad"), "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n", "the token has expired"),
    ] {
        let mut server = with_tokens(|setup| setup.asks = true);
        let mut client = ask(&mut server, token);
        assert_eq!(client.status(), 401);
        assert!(client.head().contains(challenge), "{}", client.head());
        assert!(client.head().ends_with(&format!("\r\n\r\n{reason}\n")), "{}", client.head());
        let Usage { used, peak, .. } = server.pool.connections();
        assert_eq!((used, peak), (0, 0));
        // The operator's log may hear of it, the application not.
        assert!(
            !server.events.iter().any(|event| matches!(event, Event::Arrived(_) | Event::Withdrawn { .. }))
        );
        assert!(client.is_shut());
        assert_eq!(server.stats().handshakes[Outcome::Token as usize], 1);
        assert_eq!(server.known.count(), 0);
    }
}

#[test]
fn a_full_server_spends_nothing_on_signatures() {
    let mut server = with_tokens(|setup| setup.limits.max_connections_per_address = Some(1));
    assert_eq!(ask(&mut server, Some("ada")).status(), 101);
    assert_eq!(ask(&mut server, Some("bad")).status(), 429);
}

#[test]
fn the_token_names_the_user_and_the_application_hears_its_claims() {
    let mut server = with_tokens(|_| {});
    let mut client = ask(&mut server, Some("ada"));
    assert_eq!(client.status(), 101);
    assert_eq!(user_of(&mut server, &client).as_deref(), Some("ada"));
    let arrived = server.take(|event| matches!(event, Event::Arrived(_)));
    let [Event::Arrived(arrival)] = &arrived[..] else { panic!("{arrived:?}") };
    assert_eq!(arrival.claims.as_deref(), Some(&b"{\"sub\":\"ada\"}"[..]));
    let opened = server.take(|event| matches!(event, Event::Opened(_)));
    let [Event::Opened(opening)] = &opened[..] else { panic!("{opened:?}") };
    assert_eq!(opening.user.as_deref(), Some("ada"));
}

#[test]
fn what_the_application_says_of_user_and_life_precedes_the_token() {
    let mut server = with_tokens(|setup| setup.asks = true);
    let mut named = ask(&mut server, Some("ada"));
    let until = server.now + seconds(3);
    server.admit(&named, |admission| {
        admission.user = Some("grace".into());
        admission.expires_at = Some(until);
    });
    let mut silent = ask(&mut server, Some("ada"));
    server.admit(&silent, |_| {});
    assert_eq!(user_of(&mut server, &named).as_deref(), Some("grace"));
    assert_eq!(user_of(&mut server, &silent).as_deref(), Some("ada"));
    server.pass(seconds(3) + TICK);
    assert_eq!(closed_with(&mut named), Some(4401));
    assert_eq!(closed_with(&mut silent), None);
}

#[test]
fn at_the_end_of_its_life_a_connection_is_closed_with_4401_however_busy_it_is() {
    let mut server = with_tokens(|_| {});
    let mut client = ask(&mut server, Some("ada"));
    assert_eq!(client.status(), 101);
    for _ in 0..99 {
        server.pass(millis(100));
        server.send(&client, &text("busy"));
    }
    assert_eq!(client.got(), []);
    server.pass(millis(100) + TICK);
    assert_eq!(client.got(), [Got::Close(4401, "token expired".into())]);
    server.send(&client, &close(CloseCode::TOKEN_EXPIRED, ""));
    let closed = server.closed(&client);
    assert_eq!((closed.ending, closed.code.0, closed.by), ("token_expired", 4401, By::Server));
}

#[test]
fn a_life_is_extended_and_shortened_with_and_without_a_token() {
    for token in [true, false] {
        let mut server = Server::with(|setup| setup.tokens = token.then(|| Arc::new(Names) as Arc<_>));
        let mut extended = ask(&mut server, Some("ada"));
        let mut shortened = ask(&mut server, Some("grace"));
        assert_eq!(extended.status(), 101);
        let extend = |server: &mut Server, client: &Client, until: Timestamp| {
            server.command(0, Command::Extend { connection: client.id, until });
        };
        let until = server.now + seconds(30);
        extend(&mut server, &extended, until);
        let until = server.now + seconds(2);
        extend(&mut server, &shortened, until);
        server.pass(millis(1_900));
        assert_eq!(closed_with(&mut shortened), None);
        server.pass(millis(100) + TICK);
        assert_eq!(closed_with(&mut shortened), Some(4401));
        server.pass(seconds(27));
        assert_eq!(closed_with(&mut extended), None, "with a token: {token}");
        server.pass(seconds(1) + TICK);
        assert_eq!(closed_with(&mut extended), Some(4401));
        // It is closing: another word about its life changes nothing, and of one that has gone it is counted.
        let until = server.now + seconds(30);
        extend(&mut server, &extended, until);
        assert_eq!(server.stats().stale, 0);
        server.end(&extended);
        let until = server.now + seconds(30);
        extend(&mut server, &extended, until);
        assert_eq!(server.stats().stale, 1);
    }
}

#[test]
fn a_token_that_expires_while_on_connect_thinks_ends_the_connection_at_once() {
    let mut server = with_tokens(|setup| {
        setup.asks = true;
        setup.limits.open_timeout = seconds(20);
    });
    let mut client = ask(&mut server, Some("ada"));
    server.pass(seconds(11));
    server.admit(&client, |_| {});
    server.pass(TICK);
    assert_eq!(closed_with(&mut client), Some(4401));
}
