//! Receives records in every cut · looks at what is made of them · owns the promises of `Encryption`: nothing is held
//! back inside, nothing is kept while idle, what is wrong gets an alert.

use super::*;

/// The last alert in clear text: its description (RFC 8446 §6).
fn alert(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [.., 21, 3, _, 0, 2, 2, description] => Some(*description),
        _ => None,
    }
}

#[test]
fn every_version_and_every_cut_makes_the_same_connection() {
    let authority = Authority::new();
    let tls = authority.tls();
    for (version, name) in [(&TLS12, TlsVersion::V1_2), (&TLS13, TlsVersion::V1_3)] {
        for each in [1, 7, 4096, usize::MAX] {
            let config = authority.client_config(&[version], None);
            let (mut end, mut client) = (End::new(&tls), client(&config, "localhost"));
            // Behind the handshake, in the same bytes.
            say(&mut client, b"head");
            end.exchange(&mut client, each);
            let secured = end.secured.clone().unwrap();
            assert_eq!(secured, Secured { version: name, resumed: false, subject: None });
            assert_eq!(end.plain, b"head");
            let mut records = vec![0; 2_000];
            let count = end.encryption.encrypt(b"answer", &mut records).unwrap();
            give(&mut client, &records[..count]);
            assert_eq!(got(&mut client), b"answer");
        }
    }
}

#[test]
fn no_whole_record_waits_inside_however_much_comes_at_once() {
    let authority = Authority::new();
    let tls = authority.tls();
    let (mut end, mut client) = shake(&tls, &authority.client_config(&[&TLS13], None), "localhost");
    let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    say(&mut client, &sent);
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    end.take_in(&bytes[..60_000]);
    assert_eq!(end.plain.len(), 3 * 16_384, "three whole records");
    assert!(!end.encryption.unfinished().is_empty());
    end.take_in(&bytes[60_000..]);
    assert_eq!(end.plain, sent);
    assert!(end.encryption.unfinished().is_empty() && end.encryption.unsent().is_empty());
}

#[test]
fn the_ledger_has_what_is_kept_and_idle_keeps_nothing() {
    let authority = Authority::new();
    let tls = authority.tls();
    let (mut end, mut client) = shake(&tls, &authority.client_config(&[&TLS13], None), "localhost");
    let idle = end.held();
    say(&mut client, &[7; 10_000]);
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    end.take_in(&bytes[..9_000]);
    assert!(end.held() >= idle + 9_000, "{} and {idle}", end.held());
    end.take_in(&bytes[9_000..]);
    assert_eq!(end.held(), idle);
    end.encryption.hold(&[0; 5_000]);
    assert!(end.held() >= idle + 5_000);
    end.encryption.sent(4_999);
    assert!(end.held() >= idle + 5_000, "it is still there");
    end.encryption.sent(1);
    assert_eq!(end.held(), idle);
    let ledger = end.ledger.clone();
    drop(end);
    assert_eq!((ledger.held_by(Owner::Tls), ledger.used()), (0, 0));
}

#[test]
fn what_is_no_acceptable_tls_gets_an_alert_and_nothing_else() {
    let authority = Authority::new();
    let tls = authority.tls();
    // A ClientHello of TLS 1.0: version, random, no session, one suite, no compression, one extension.
    let mut old = [vec![22, 3, 1, 0, 55, 1, 0, 0, 51, 3, 1], vec![7; 32]].concat();
    old.extend([0, 0, 2, 0, 0x2F, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 1]);
    for (bytes, description) in [
        (&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], 50),
        (&[0xFF; 64][..], 50),
        (&old[..], 70),
        (&[22, 3, 1, 0xFF, 0xFF, 1][..], 50),
        (&[23, 3, 3, 0, 1, 0][..], 10),
    ] {
        let mut end = End::new(&tls);
        end.take_in(bytes);
        let answer = end.outgoing();
        assert_eq!(
            (&end.verdicts[..], alert(&answer)),
            (&[Absorbed::Refused][..], Some(description)),
            "{bytes:x?}"
        );
        assert_eq!(answer.len(), 7, "the alert alone");
        assert!(end.encryption.is_over() && end.encryption.is_refused());
        end.encryption.end();
        assert_eq!(end.outgoing(), b"", "no close_notify where nothing was opened");
    }
}

#[test]
fn a_record_that_was_tampered_with_ends_the_connection_behind_what_came_before() {
    let authority = Authority::new();
    let tls = authority.tls();
    let (mut end, mut client) = shake(&tls, &authority.client_config(&[&TLS13], None), "localhost");
    say(&mut client, b"before");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    let intact = bytes.len();
    say(&mut client, b"tampered with");
    client.write_tls(&mut bytes).unwrap();
    bytes[intact + 9] ^= 1;
    end.take_in(&bytes);
    assert_eq!((end.verdicts.last().unwrap(), &end.plain[..]), (&Absorbed::Over(6), &b"before"[..]));
    let answer = end.outgoing();
    let mut rest = &answer[..];
    client.read_tls(&mut rest).unwrap();
    let told = client.process_new_packets().unwrap_err().to_string();
    assert!(told.contains("BadRecordMac"), "{told}");
    assert!(!end.encryption.is_refused(), "there was a connection");
}

#[test]
fn a_close_notify_is_the_end_and_ours_follows_what_is_unsent() {
    let authority = Authority::new();
    let tls = authority.tls();
    for version in [&TLS12, &TLS13] {
        let (mut end, mut client) = shake(&tls, &authority.client_config(&[version], None), "localhost");
        let mut records = vec![0; 2_000];
        let count = end.encryption.encrypt(b"last words", &mut records).unwrap();
        end.encryption.hold(&records[..count]);
        end.encryption.end();
        end.encryption.end();
        let answer = end.outgoing();
        give(&mut client, &answer);
        assert_eq!(got(&mut client), b"last words");
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        say(&mut client, b"mine");
        client.send_close_notify();
        end.exchange(&mut client, usize::MAX);
        assert_eq!((end.verdicts.last().unwrap(), &end.plain[..]), (&Absorbed::Over(4), &b"mine"[..]));
    }
}

#[test]
fn a_peer_that_only_asks_for_new_keys_is_bounded() {
    let authority = Authority::new();
    let tls = authority.tls();
    let (mut end, mut client) = shake(&tls, &authority.client_config(&[&TLS13], None), "localhost");
    // One question and a byte at a time it may go on for ever, and one answer is due to all of it.
    for _ in 0..1_000 {
        client.refresh_traffic_keys().unwrap();
        say(&mut client, b"x");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        end.take_in(&bytes);
        assert!(end.encryption.unsent().len() < 1_000);
    }
    assert_eq!(end.plain, [b'x'; 1_000]);
    // Questions alone are too much at once.
    for _ in 0..100 {
        if end.encryption.is_over() {
            break;
        }
        client.refresh_traffic_keys().unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        end.take_in(&bytes);
        assert!(end.encryption.unsent().len() < 1_000);
    }
    assert!(end.encryption.is_over());
}

#[test]
fn a_handshake_message_without_end_is_bounded() {
    let authority = Authority::new();
    let tls = authority.tls();
    let mut end = End::new(&tls);
    // A ClientHello of 60,000 bytes in records of 4,000.
    end.take_in(&[22, 3, 1, 0, 4, 1, 0, 0xEA, 0x60]);
    for _ in 0..12 {
        end.take_in(&[&[22, 3, 1, 0x0F, 0xA0][..], &[0; 4_000]].concat());
        assert!(end.encryption.unfinished().len() <= 32 * 1024);
    }
    assert!(end.encryption.is_refused());
}
