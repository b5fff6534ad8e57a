//! The token that Feebox sends, which may be replaced while it runs.

use std::path::PathBuf;

use parking_lot::RwLock;
use reqwest::header::{HeaderValue, InvalidHeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::{secret_file::secret_in, settings};

/// The value of the header `Authorization`, and the file that it came from.
#[derive(Debug)]
pub(super) struct Credentials {
    current: RwLock<Option<HeaderValue>>,
    file: Option<PathBuf>,
    /// Held by the call that reads the file: others that were refused meanwhile find what it read.
    reading: tokio::sync::Mutex<()>,
}

impl Credentials {
    pub(super) fn new(settings: &settings::FeeServer) -> Result<Self, InvalidHeaderValue> {
        let current = settings.token.as_ref().map(bearer).transpose()?;
        Ok(Self {
            current: RwLock::new(current),
            file: settings.token_file.clone(),
            reading: tokio::sync::Mutex::default(),
        })
    }

    /// What to send now.
    pub(super) fn current(&self) -> Option<HeaderValue> {
        self.current.read().clone()
    }

    /// What to send after `refused` was refused, if the file holds another token by now. A file that cannot be read, or
    /// holds no token, changes nothing.
    pub(super) async fn read_again(&self, refused: Option<&HeaderValue>) -> Option<HeaderValue> {
        let path = self.file.clone()?;
        let _reading = self.reading.lock().await;
        let known = self.current();
        if known.as_ref() != refused {
            return known;
        }
        let read = tokio::task::spawn_blocking(move || secret_in(&path)).await.ok()?;
        let token =
            read.and_then(|token| bearer(&token).map_err(|_| "it holds characters that no header takes".into()));
        match token {
            Ok(token) if Some(&token) != refused => {
                tracing::info!("fee_server.token_file was read again after its token was refused");
                *self.current.write() = Some(token.clone());
                Some(token)
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(error, "fee_server.token_file could not be read again, the current token is kept");
                None
            }
        }
    }
}

fn bearer(token: &SecretString) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?;
    value.set_sensitive(true);
    Ok(value)
}
