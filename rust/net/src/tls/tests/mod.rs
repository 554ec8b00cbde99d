//! Receives nothing · hands the tests an authority with files of its own, and clients of rustls · owns both ends' bytes
//! between them.

mod absorbing;
mod files;
mod sockets;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use streamconductor_core::ledger::{Ledger, Owner};
use streamconductor_core::shard::securing::{Secured, TlsVersion};

use super::encryption::Absorbed;
use super::{Encryption, Files, Tls};

/// A directory that goes with the test, and an authority that signs into it.
struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("streamconductor-tls-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        std::fs::write(directory.join("authority.pem"), certificate.pem()).unwrap();
        let certificate = certificate.der().clone();
        Self { directory, issuer: Issuer::new(parameters, key), certificate }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes `<name>.pem` and `<name>.key` for these host names.
    fn issue(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut parameters = CertificateParams::new(hosts).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::OrganizationName, "Tests, and more");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn files(&self, names: &[&str]) -> Files {
        let all = |kind: &str| names.iter().map(|name| self.file(&format!("{name}.{kind}"))).collect();
        Files { certificates: all("pem"), keys: all("key"), authorities: None, requires_client: false }
    }

    /// TLS with one certificate, for `localhost`.
    fn tls(&self) -> Tls {
        self.issue("server", &["localhost"]);
        Tls::load(self.files(&["server"])).unwrap()
    }

    fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&str>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::pem_file_iter(self.file(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        })
    }

    fn client(&self) -> ClientConnection {
        client(&self.client_config(&[&TLS13, &TLS12], None), "localhost")
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn client(config: &Arc<ClientConfig>, host: &str) -> ClientConnection {
    let mut client =
        ClientConnection::new(Arc::clone(config), ServerName::try_from(host.to_owned()).unwrap()).unwrap();
    client.set_buffer_limit(None);
    client
}

/// The server's end without a socket.
struct End {
    encryption: Encryption,
    ledger: Ledger,
    /// Plain bytes that have come.
    plain: Vec<u8>,
    secured: Option<Secured>,
    verdicts: Vec<Absorbed>,
}

impl End {
    fn new(tls: &Tls) -> Self {
        let ledger = Ledger::new(1 << 30);
        let encryption = Encryption::begin(tls.config(), &ledger).unwrap();
        Self { encryption, ledger, plain: Vec::new(), secured: None, verdicts: Vec::new() }
    }

    /// Bytes from the network.
    fn take_in(&mut self, bytes: &[u8]) {
        let mut input = [self.encryption.unfinished(), bytes].concat();
        let mut plain = vec![0; input.len()];
        let absorbed = self.encryption.absorb(&mut input, &mut plain);
        let count = match &absorbed {
            Absorbed::Plain(count) | Absorbed::Over(count) => *count,
            Absorbed::Secured(secured, count) => {
                self.secured = Some(secured.clone());
                *count
            }
            Absorbed::Refused => 0,
        };
        self.plain.extend_from_slice(&plain[..count]);
        self.verdicts.push(absorbed);
    }

    /// Everything that is to go out.
    fn outgoing(&mut self) -> Vec<u8> {
        let bytes = self.encryption.unsent().to_vec();
        self.encryption.sent(bytes.len());
        bytes
    }

    /// Passes bytes both ways until neither has more; `each`: how many bytes the server gets at once.
    fn exchange(&mut self, client: &mut ClientConnection, each: usize) {
        loop {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            bytes.chunks(each).for_each(|part| self.take_in(part));
            let answer = self.outgoing();
            give(client, &answer);
            if bytes.is_empty() && answer.is_empty() {
                return;
            }
        }
    }

    fn held(&self) -> usize {
        self.ledger.held_by(Owner::Tls)
    }
}

/// The client gets bytes. What it finds wrong with them shows in its state, as it would with a socket.
fn give(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() && client.read_tls(&mut bytes).is_ok_and(|count| count > 0) {
        let _ = client.process_new_packets();
    }
}

/// The plain bytes that the client has got.
fn got(client: &mut ClientConnection) -> Vec<u8> {
    let mut plain = Vec::new();
    // An end, orderly or not, is an error or nothing more: either way this is what there was.
    let _ = client.reader().read_to_end(&mut plain);
    plain
}

fn say(client: &mut ClientConnection, plain: &[u8]) {
    client.writer().write_all(plain).unwrap();
}

/// The handshake that `config` makes.
fn shake(tls: &Tls, config: &Arc<ClientConfig>, host: &str) -> (End, ClientConnection) {
    let (mut end, mut client) = (End::new(tls), client(config, host));
    end.exchange(&mut client, usize::MAX);
    (end, client)
}
