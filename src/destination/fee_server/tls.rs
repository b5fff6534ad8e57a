//! TLS to the fee server: which certificates Feebox trusts, and which it shows. The files are read again when they change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::{printable::chain, settings};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// A file is not PEM, or holds something else.
    #[error("{} holds no PEM of the kind that is needed", .0.display())]
    NotPem(PathBuf, #[source] pem::Error),
    /// A certificate or key is not usable, or the two do not match.
    #[error("the certificates or the key are not usable")]
    Unusable(#[from] rustls::Error),
}

/// The files, and what they held when they were last read.
#[derive(Debug)]
pub(super) struct Tls {
    authorities: Option<PathBuf>,
    /// The client certificate and its key.
    identity: Option<(PathBuf, PathBuf)>,
    loaded: Mutex<(Texts, Arc<ClientConfig>)>,
}

/// The contents of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Texts {
    authorities: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    pub(super) fn new(settings: &settings::FeeServer) -> Result<Self, TlsError> {
        let authorities = settings.ssl_ca_location.clone();
        let identity = settings.ssl_certificate_location.clone().zip(settings.ssl_key_location.clone());
        let texts = Texts::read(authorities.as_ref(), identity.as_ref())?;
        let config = config(&texts, authorities.as_ref(), identity.as_ref())?;
        Ok(Self { authorities, identity, loaded: Mutex::new((texts, Arc::new(config))) })
    }

    /// The configuration of new connections. The files are small, and are read once per set of connections. What they hold now
    /// is used if it is usable: while they are being replaced, the certificate and the key may not match.
    pub(super) fn current(&self) -> ClientConfig {
        let (authorities, identity) = (self.authorities.as_ref(), self.identity.as_ref());
        let mut loaded = self.loaded.lock();
        let read = Texts::read(authorities, identity).and_then(|texts| {
            if texts == loaded.0 {
                return Ok(None);
            }
            let config = config(&texts, authorities, identity)?;
            Ok(Some((texts, Arc::new(config))))
        });
        match read {
            Ok(None) => {}
            Ok(Some(new)) => {
                tracing::info!("fee_server.ssl_* files have changed and were read again");
                *loaded = new;
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "fee_server.ssl_* files could not be read again; the current ones are kept");
            }
        }
        ClientConfig::clone(&loaded.1)
    }
}

impl Texts {
    fn read(authorities: Option<&PathBuf>, identity: Option<&(PathBuf, PathBuf)>) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| fs::read(path).map_err(|error| TlsError::Unreadable(path.clone(), error));
        let authorities = authorities.map(read).transpose()?;
        let identity = match identity {
            Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
            None => None,
        };
        Ok(Self { authorities, identity })
    }
}

fn config(
    texts: &Texts,
    authorities: Option<&PathBuf>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Result<ClientConfig, TlsError> {
    let trusting = trusting(texts.authorities.as_deref().zip(authorities))?;
    let mut config = match texts.identity.as_ref().zip(identity) {
        None => trusting.with_no_client_auth(),
        Some(((certificates, key), (certificates_path, key_path))) => {
            let chain = certificates_in(certificates, certificates_path)?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|why| TlsError::NotPem(key_path.clone(), why))?;
            trusting.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Trusts the authorities in the file, or those of the system.
fn trusting(authorities: Option<(&[u8], &PathBuf)>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let Some((text, path)) = authorities else { return Ok(ClientConfig::builder().with_platform_verifier()?) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates_in(text, path)? {
        roots.add(certificate)?;
    }
    Ok(ClientConfig::builder().with_root_certificates(roots))
}

/// At least one.
fn certificates_in(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let not_pem = |why| TlsError::NotPem(path.to_owned(), why);
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(not_pem)?;
    if certificates.is_empty() { Err(not_pem(pem::Error::NoItemsFound)) } else { Ok(certificates) }
}
