use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::Proxy;

/// What vouches for certificates; it lives as long as the test, and so do its files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

/// A certificate and its key, as PEM files and for a server.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    secret: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, dir }
    }

    /// A PEM file of what is to be trusted.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Vouches for `name`, a host name or an address.
    pub fn vouch_for(&self, name: &str) -> Identity {
        let secret = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name = named(name);
        let signed = params.signed_by(&secret, &self.issuer).unwrap();
        let file = |kind: &str, text: String| {
            let path = self.dir.path().join(format!("{name}.{kind}.pem"));
            std::fs::write(&path, text).unwrap();
            path
        };
        Identity {
            certificate: file("certificate", signed.pem()),
            key: file("key", secret.serialize_pem()),
            chain: vec![signed.der().clone()],
            secret,
        }
    }
}

/// TLS for a server that has none. Dropped, it takes no new connections.
pub struct TlsFront {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl TlsFront {
    /// Shows `identity`, and lets those in whose certificate `authority` vouches for.
    pub async fn before(server: SocketAddr, identity: &Identity, authority: &Authority) -> TlsFront {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.secret.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(identity.chain.clone(), key)
            .unwrap();

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let proxy = Proxy::between(addr, server).await;
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), proxy));
        TlsFront { addr, accepting }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Without a name of its own a certificate has the library's, and OpenSSL takes it for its own issuer.
fn named(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, proxy: Proxy) {
    while let Ok((client, _)) = listener.accept().await {
        let (acceptor, target) = (acceptor.clone(), proxy.addr());
        tokio::spawn(async move {
            let mut client = acceptor.accept(client).await?;
            let mut server = TcpStream::connect(target).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
