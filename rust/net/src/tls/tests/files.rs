//! Receives files, good and bad, and clients that name hosts · looks at who is shown what · owns the promises of what is
//! read from files: checked whole, chosen by name, renewed without anybody's loss.

use super::*;

fn reason(error: FileError) -> (&'static str, String, String) {
    (error.field, error.file.file_name().unwrap().to_string_lossy().into_owned(), error.reason)
}

/// The server's certificate that a client was shown.
fn shown(client: &ClientConnection) -> CertificateDer<'static> {
    client.peer_certificates().unwrap()[0].clone()
}

use super::super::FileError;

#[test]
fn a_client_is_shown_the_certificate_of_the_host_that_it_names() {
    let authority = Authority::new();
    authority.issue("first", &["first.example.com"]);
    authority.issue("wild", &["*.rooms.example.com"]);
    let tls = Tls::load(authority.files(&["first", "wild"])).unwrap();
    let pem = |name: &str| CertificateDer::from_pem_file(authority.file(name)).unwrap();
    for (host, file) in [
        ("first.example.com", "first.pem"),
        ("blue.rooms.example.com", "wild.pem"),
        ("FIRST.example.com", "first.pem"),
    ] {
        let (end, client) = shake(&tls, &authority.client_config(&[&TLS13], None), host);
        assert!(end.secured.is_some(), "{host}");
        assert_eq!(shown(&client), pem(file), "{host}");
    }
    // Nobody's: the first, which the client refuses, and says so.
    for host in ["rooms.example.com", "a.b.rooms.example.com", "elsewhere.example.com", "127.0.0.1"] {
        let (end, _) = shake(&tls, &authority.client_config(&[&TLS13], None), host);
        assert_eq!(end.verdicts.last(), Some(&Absorbed::Refused), "{host}");
    }
}

#[test]
fn what_is_wrong_is_told_by_setting_and_file_and_never_by_content() {
    let authority = Authority::new();
    authority.issue("server", &["localhost"]);
    authority.issue("other", &["localhost"]);
    let write = |name: &str, text: &str| std::fs::write(authority.file(name), text).unwrap();
    write("empty.pem", "");
    write("secret.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
    write("broken.pem", "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n");
    write("large.pem", &" ".repeat(1_100_000));
    let with = |certificate: &str, key: &str| {
        let files = Files {
            certificates: vec![authority.file(certificate)],
            keys: vec![authority.file(key)],
            authorities: None,
            requires_client: false,
        };
        reason(Tls::load(files).err().unwrap())
    };
    for (certificate, key, field, file, words) in [
        ("missing.pem", "server.key", "tls_certificate", "missing.pem", "No such file"),
        ("server.pem", "missing.key", "tls_key", "missing.key", "No such file"),
        ("empty.pem", "server.key", "tls_certificate", "empty.pem", "holds no certificate"),
        ("broken.pem", "server.key", "tls_certificate", "broken.pem", "no certificate of use"),
        ("large.pem", "server.key", "tls_certificate", "large.pem", "1100000 bytes"),
        ("server.pem", "server.pem", "tls_key", "server.pem", "holds no private key"),
        ("server.pem", "secret.key", "tls_key", "secret.key", "unknown kind"),
        ("server.pem", "other.key", "tls_key", "other.key", "is not the key of the certificate in"),
    ] {
        let (told_field, told_file, told) = with(certificate, key);
        assert_eq!((told_field, &*told_file), (field, file), "{told}");
        assert!(told.contains(words), "{told}");
        assert!(!told.contains("c2VjcmV0") && !told.contains("secret\""), "{told}");
    }
    let mut files = authority.files(&["server"]);
    files.authorities = Some(authority.file("empty.pem"));
    assert_eq!(reason(Tls::load(files).err().unwrap()).0, "tls_client_authorities");
}

#[test]
fn a_client_certificate_is_asked_for_verified_and_named() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("server", &["localhost"]);
    authority.issue("alice", &[]);
    stranger.issue("mallory", &[]);
    let mut files = authority.files(&["server"]);
    files.authorities = Some(authority.file("authority.pem"));
    let asking = Tls::load(files.clone()).unwrap();
    files.requires_client = true;
    let requiring = Tls::load(files).unwrap();
    for version in [&TLS12, &TLS13] {
        let (end, _) = shake(&asking, &authority.client_config(&[version], Some("alice")), "localhost");
        let subject = end.secured.unwrap().subject.unwrap();
        assert_eq!(&*subject, "CN=alice,O=Tests\\, and more");
        let (end, _) = shake(&asking, &authority.client_config(&[version], None), "localhost");
        assert_eq!(end.secured.unwrap().subject, None);
        let (end, _) = shake(&requiring, &authority.client_config(&[version], None), "localhost");
        assert_eq!((end.secured, end.verdicts.last()), (None, Some(&Absorbed::Refused)));
        // Its certificate is good for nothing here.
        std::fs::copy(stranger.file("mallory.pem"), authority.file("mallory.pem")).unwrap();
        std::fs::copy(stranger.file("mallory.key"), authority.file("mallory.key")).unwrap();
        let (end, _) = shake(&asking, &authority.client_config(&[version], Some("mallory")), "localhost");
        assert_eq!((end.secured, end.verdicts.last()), (None, Some(&Absorbed::Refused)));
    }
}

#[test]
fn a_reload_serves_the_new_certificate_and_a_bad_file_keeps_the_old() {
    let authority = Authority::new();
    let tls = authority.tls();
    let config = authority.client_config(&[&TLS13], None);
    let (mut open, mut old_client) = shake(&tls, &config, "localhost");
    let old = shown(&old_client);
    authority.issue("server", &["localhost"]);
    tls.reload().unwrap();
    let fresh = authority.client_config(&[&TLS13], None);
    let new = shown(&shake(&tls, &fresh, "localhost").1);
    assert_ne!(old, new);
    std::fs::write(authority.file("server.key"), "half").unwrap();
    let error = tls.reload().unwrap_err();
    assert_eq!(error.field, "tls_key");
    let fresh = authority.client_config(&[&TLS13], None);
    assert_eq!(shown(&shake(&tls, &fresh, "localhost").1), new);
    let report = tls.report();
    assert_eq!((report.certificates, report.reloads, report.reload_failures), (1, 1, 1));
    assert!(report.last_failure.unwrap().starts_with("tls_key: "));
    assert!(report.not_after > 1_700_000_000);
    // The connection of before goes on, under the keys that it has.
    say(&mut old_client, b"still here");
    open.exchange(&mut old_client, usize::MAX);
    assert_eq!(open.plain, b"still here");
    authority.issue("server", &["localhost"]);
    tls.reload().unwrap();
    assert_eq!(tls.report().last_failure, None);
}

#[test]
fn a_connection_is_taken_up_again_across_reloads_unless_the_authorities_changed() {
    let (authority, later) = (Authority::new(), Authority::new());
    authority.issue("server", &["localhost"]);
    authority.issue("alice", &[]);
    let mut files = authority.files(&["server"]);
    files.authorities = Some(authority.file("authority.pem"));
    let tls = Tls::load(files).unwrap();
    for version in [&TLS12, &TLS13] {
        let config = authority.client_config(&[version], Some("alice"));
        let again = || shake(&tls, &config, "localhost").0.secured.unwrap();
        assert!(!again().resumed);
        assert!(again().resumed);
        tls.reload().unwrap();
        let taken_up = again();
        assert!(taken_up.resumed);
        assert_eq!(taken_up.subject.as_deref(), Some("CN=alice,O=Tests\\, and more"), "it is not forgotten");
    }
    let config = authority.client_config(&[&TLS13], Some("alice"));
    assert!(!shake(&tls, &config, "localhost").0.secured.unwrap().resumed);
    std::fs::copy(later.file("authority.pem"), authority.file("authority.pem")).unwrap();
    tls.reload().unwrap();
    let (end, _) = shake(&tls, &config, "localhost");
    assert_eq!(end.secured, None, "a ticket of before must not let in whom the authorities of now refuse");
}
