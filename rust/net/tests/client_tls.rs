//! Encrypted connections: whom a client trusts, what it proves itself with, and what comes with the answer; also against
//! our own server.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test
#![allow(dead_code)] // the support of the admin tests is shared

mod admin_support;
mod client_support;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use admin_support::Stand;
use client_support::{
    Scripted, accept, dialled, failed, header, ledger, read_head, run, switching, to, wait_for_end,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use streamconductor_core::ledger::Owner;
use streamconductor_core::shard::securing::TlsVersion;
use streamconductor_net::client::{Destination, Dial, DialError, ProxyChoice, Trust, TrustFiles, dial};
use streamconductor_net::tls::{Files, Tls};

/// An authority with a directory that goes with the test.
struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("streamconductor-dial-tls-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        std::fs::write(directory.join("authority.pem"), certificate.pem()).unwrap();
        let authority = Self { directory, issuer: Issuer::new(parameters, key) };
        authority.issue("server", &["localhost", "127.0.0.1"]);
        authority.issue("client", &[]);
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn issue(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut parameters = CertificateParams::new(hosts).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn trust(&self, identity: bool) -> Arc<Trust> {
        let identity = identity.then(|| (self.file("client.pem"), self.file("client.key")));
        let files = TrustFiles { authorities: Some(self.file("authority.pem")), identity };
        Arc::new(Trust::load(&files).unwrap())
    }

    /// Our own TLS; with `requires_client` for clients with a certificate of this authority.
    fn tls(&self, requires_client: bool) -> Arc<Tls> {
        let files = Files {
            certificates: vec![self.file("server.pem")],
            keys: vec![self.file("server.key")],
            authorities: requires_client.then(|| self.file("authority.pem")),
            requires_client,
        };
        Arc::new(Tls::load(files).unwrap())
    }

    /// A server of rustls, with one version, that answers with what `answer` makes of the request's head.
    fn scripted(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> TlsServer {
        let chain =
            CertificateDer::pem_file_iter(self.file("server.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.file("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsServer::start(Arc::new(config), answer)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// An encrypted server behind a proxy of ours, or without one: `CONNECT` is answered where it comes.
struct TlsServer(std::net::SocketAddr);

impl TlsServer {
    fn start(config: Arc<ServerConfig>, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (config, answer) = (Arc::clone(&config), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut socket = socket.unwrap();
                    let mut first = [0];
                    if socket.peek(&mut first).unwrap_or(0) == 1 && first == *b"C" {
                        read_head(&mut socket);
                        socket.write_all(b"HTTP/1.1 200 x\r\n\r\n").unwrap();
                    }
                    let mut secure = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
                    let head = read_head(&mut secure);
                    if !head.is_empty() {
                        // One record, or as many as it takes.
                        let _ = secure.write_all(&answer(&head));
                    }
                    wait_for_end(&mut secure);
                });
            }
        });
        Self(address)
    }

    fn url(&self) -> String {
        format!("wss://localhost:{}/", self.0.port())
    }
}

fn opening(head: &str, behind: &[u8]) -> Vec<u8> {
    [switching("").replace("{accept}", &accept(head)).as_bytes(), behind].concat()
}

fn tls_failure(options: &Dial) -> String {
    match failed(options) {
        DialError::Tls { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn frames_in_the_record_of_the_answer_are_kept_in_either_version() {
    let authority = Authority::new();
    for (version, name) in [(&TLS12, TlsVersion::V1_2), (&TLS13, TlsVersion::V1_3)] {
        for size in [0, 5, 16_000, 50_000] {
            let frames = vec![b'x'; size];
            let sent = frames.clone();
            let server = authority.scripted(version, move |head| opening(head, &sent));
            let ledger = ledger();
            run(async {
                let options = Dial { trust: Some(authority.trust(false)), ..to(server.url()) };
                let connection = dial(&options, &ledger).await.map_err(|error| error.to_string()).unwrap();
                let ahead = &connection.read_ahead;
                assert!(
                    frames.starts_with(ahead) && (size > 16_000 || ahead.len() == size),
                    "{}",
                    ahead.len()
                );
                assert_eq!(connection.secured.as_ref().unwrap().version, name);
                assert!(ledger.held_by(Owner::Tls) > 0);
                assert!(connection.encryption.as_ref().unwrap().unsent().is_empty());
                drop(connection);
                assert_eq!(ledger.held_by(Owner::Tls), 0);
            });
        }
    }
}

#[test]
fn who_is_not_vouched_for_is_refused_with_the_reason() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.scripted(&TLS13, |head| opening(head, b""));
    let with = |trust: Option<Arc<Trust>>, name: Option<&str>| {
        let server_hostname = name.map(str::to_owned);
        Dial { trust, server_hostname, ..to(server.url()) }
    };
    assert!(tls_failure(&with(Some(other.trust(false)), None)).contains("UnknownIssuer"));
    // The system does not know it either, where it knows anybody.
    match failed(&with(None, None)) {
        DialError::Tls { reason, .. } => assert!(reason.contains("UnknownIssuer"), "{reason}"),
        DialError::Invalid { option, .. } => assert_eq!(option, "tls_authorities"),
        other => panic!("{other}"),
    }
    let reason = tls_failure(&with(Some(authority.trust(false)), Some("another.example")));
    assert!(reason.contains("another.example"), "{reason}");
    // The address is in the certificate, too, and so is the name that is asked for instead of another.
    let by_address = to(server.url().replace("localhost", "127.0.0.1"));
    dialled(&Dial { trust: Some(authority.trust(false)), ..by_address }, async |_| ());
    let destination = Destination::Addresses(vec![server.0]);
    let options = Dial { destination, trust: Some(authority.trust(false)), ..to("wss://named.example/") };
    assert!(tls_failure(&options).contains("named.example"));
    dialled(&Dial { server_hostname: Some("localhost".into()), ..options }, async |_| ());
}

#[test]
fn what_speaks_no_tls_fails_at_once() {
    let authority = Authority::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let mut socket = silent.accept().unwrap().0;
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        wait_for_end(&mut socket)
    });
    let options = Dial { trust: Some(authority.trust(false)), ..to(format!("wss://localhost:{port}/")) };
    tls_failure(&options);
    assert!(answering.join().unwrap());
}

#[test]
fn an_encrypted_way_through_a_proxy_ends_at_the_server() {
    let authority = Authority::new();
    let server = authority.scripted(&TLS13, |head| opening(head, header(head, "Host").unwrap().as_bytes()));
    let options = Dial {
        proxy: ProxyChoice::At(format!("http://{}", server.0)),
        trust: Some(authority.trust(false)),
        server_hostname: Some("localhost".into()),
        ..to("wss://nowhere.invalid/")
    };
    dialled(&options, async |connection| {
        assert_eq!(&connection.read_ahead[..], b"nowhere.invalid");
        assert!(connection.secured.is_some());
    });
}

#[test]
fn nobody_is_sent_from_an_encrypted_url_to_one_that_is_not() {
    let authority = Authority::new();
    let plain = Scripted::answering(switching(""));
    let location = plain.url();
    let server = authority.scripted(&TLS13, move |_| {
        format!("HTTP/1.1 302 x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let error = failed(&Dial { trust: Some(authority.trust(false)), ..to(server.url()) });
    let DialError::Redirect { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("encrypted"), "{reason}");
    assert_eq!(plain.heads(), [""; 0]);
    // The other way is open.
    let secure = authority.scripted(&TLS13, |head| opening(head, b""));
    let location = secure.url().replace("wss", "https");
    let plain =
        Scripted::answering(format!("HTTP/1.1 308 x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
    dialled(&Dial { trust: Some(authority.trust(false)), ..to(plain.url()) }, async |connection| {
        assert_eq!(connection.url, secure.url());
    });
}

#[test]
fn our_own_server_and_its_client_understand_each_other() {
    let authority = Authority::new();
    for (tls, requires_client) in
        [(None, false), (Some(authority.tls(false)), false), (Some(authority.tls(true)), true)]
    {
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let stand = Stand::start_with(None, tls);
        let url = format!("{scheme}://localhost:{}/", stand.server.addresses()[0].port());
        let options = Dial { compression: true, trust: Some(authority.trust(requires_client)), ..to(url) };
        for number in 0..2 {
            dialled(&options, async |connection| {
                assert!(connection.agreement.is_some() && connection.read_ahead.is_empty());
                let resumed = connection.secured.as_ref().map(|secured| secured.resumed);
                // Whoever comes back takes up the TLS of before.
                assert_eq!(resumed, (scheme == "wss").then_some(number == 1));
                assert_eq!(connection.secured.and_then(|secured| secured.subject), None);
            });
        }
    }
}

#[test]
fn a_certificate_is_shown_to_the_first_origin_only() {
    let authority = Authority::new();
    let stand = Stand::start_with(None, Some(authority.tls(true)));
    let url = format!("wss://localhost:{}/", stand.server.addresses()[0].port());
    // It is asked for behind the handshake of the client, and so missed with the answer.
    let nobody = Dial { trust: Some(authority.trust(false)), ..to(url.as_str()) };
    assert!(tls_failure(&nobody).contains("CertificateRequired"));
    let location = url.clone();
    let first = authority.scripted(&TLS13, move |_| {
        format!("HTTP/1.1 307 x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let sent_on = Dial { trust: Some(authority.trust(true)), ..to(first.url()) };
    assert!(tls_failure(&sent_on).contains("CertificateRequired"));
    dialled(&Dial { trust: Some(authority.trust(true)), ..to(url) }, async |_| ());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let load = |authorities: Option<&str>, identity: Option<(&str, &str)>| {
        let identity = identity.map(|(one, other)| (authority.file(one), authority.file(other)));
        let files = TrustFiles { authorities: authorities.map(|name| authority.file(name)), identity };
        Trust::load(&files).err().map(|error| error.field)
    };
    let good = Some("authority.pem");
    assert_eq!(load(good, Some(("client.pem", "client.key"))), None);
    assert_eq!(load(Some("missing.pem"), None), Some("tls_authorities"));
    assert_eq!(load(Some("client.key"), None), Some("tls_authorities"));
    assert_eq!(load(good, Some(("missing.pem", "client.key"))), Some("tls_certificate"));
    assert_eq!(load(good, Some(("client.pem", "server.key"))), Some("tls_key"));
}
