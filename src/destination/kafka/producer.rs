//! The producer, and its replacement: after a fatal error, such as an unexpected sequence number, a producer takes nothing
//! more; and it knows only the certificates that its files held when it was made.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer as _, future_producer::Delivery},
};

use super::files::Files;

/// How long a broker may take to describe a topic.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// The producer of this process, whichever it is now.
pub(super) struct Producers {
    config: ClientConfig,
    files: Files,
    current: Mutex<Arc<Producer>>,
}

/// Producers of another kind, which most processes never need.
pub(super) struct MadeWhenNeeded {
    config: ClientConfig,
    made: Mutex<Option<Made>>,
}

#[derive(Clone)]
struct Made {
    producers: Arc<Producers>,
    /// The brokers have described what they write to, or have been asked for long enough.
    is_ready: Arc<AtomicBool>,
}

/// One producer and what it heard of its brokers.
pub(super) struct Producer {
    inner: FutureProducer<Listening>,
    heard: Heard,
}

/// The last error between client and brokers, in librdkafka's words; none since the last success.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>);

/// Receives, on a thread of librdkafka, the errors that concern no single record.
struct Listening(Heard);

impl Producers {
    /// `files` are those that `config` names.
    pub(super) fn new(config: ClientConfig, files: Files) -> Result<Self, KafkaError> {
        let current = Mutex::new(Arc::new(Producer::new(&config)?));
        Ok(Self { config, files, current })
    }

    /// The one to send with. If the files of certificates have changed, it is a new one. The one before lives until it has sent what
    /// it was given: who waits for that holds it.
    pub(super) fn current(&self) -> Arc<Producer> {
        let mut current = self.current.lock();
        if let Some(texts) = self.files.changed(Instant::now()) {
            match Producer::new(&self.config) {
                Ok(producer) => {
                    tracing::info!("kafka.ssl_* files have changed and were read again");
                    self.files.accept(texts);
                    *current = Arc::new(producer);
                }
                Err(error) => {
                    // While they are being replaced, the certificate and the key may not match.
                    tracing::warn!(%error, "kafka.ssl_* files could not be read again; the current ones are kept");
                }
            }
        }
        Arc::clone(&current)
    }

    /// Replaces `broken` by a new producer, unless another call has done so. Records that `broken` still holds fail.
    pub(super) fn replace(&self, broken: &Arc<Producer>, why: &str) {
        let mut current = self.current.lock();
        if !Arc::ptr_eq(&current, broken) {
            return;
        }
        tracing::warn!(why, "the Kafka producer broke for good and is replaced");
        match Producer::new(&self.config) {
            Ok(producer) => *current = Arc::new(producer),
            Err(error) => {
                tracing::error!(%error, "could not create a new Kafka producer, the next delivery tries again");
            }
        }
    }
}

impl MadeWhenNeeded {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self { config, made: Mutex::default() }
    }

    /// Those, with the files that `others` watch.
    pub(super) fn beside(&self, others: &Producers) -> Result<Arc<Producers>, KafkaError> {
        let mut made = self.made.lock();
        if let Some(made) = &*made {
            return Ok(Arc::clone(&made.producers));
        }
        let producers = Arc::new(Producers::new(self.config.clone(), others.files.again())?);
        *made = Some(Made { producers: Arc::clone(&producers), is_ready: Arc::default() });
        Ok(producers)
    }

    /// Those, if they are ready to send to `topic`. If not, they will be, and until then others serve: connections take a second.
    pub(super) fn if_ready(&self, others: &Producers, topic: &'static str) -> Option<Arc<Producers>> {
        if let Some(Made { producers, is_ready }) = &*self.made.lock() {
            return is_ready.load(Ordering::Relaxed).then(|| Arc::clone(producers));
        }
        let producer = self.beside(others).ok()?.current();
        let is_ready = self.made.lock().as_ref().map(|made| Arc::clone(&made.is_ready))?;
        tokio::spawn(async move {
            producer.ask_about(topic).await;
            is_ready.store(true, Ordering::Relaxed);
        });
        None
    }
}

impl Producer {
    fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        let heard = Heard::default();
        Ok(Self { inner: config.create_with_context(Listening(heard.clone()))?, heard })
    }

    /// Hands `record` over; the returned future waits for its acknowledgement.
    ///
    /// # Errors
    /// The client did not take it, and will not send it.
    pub(super) fn begin(
        &self,
        record: FutureRecord<'_, str, str>,
    ) -> Result<impl Future<Output = Result<Delivery, KafkaError>> + use<>, KafkaError> {
        let under_way = self.inner.send_result(record).map_err(|(error, _)| error)?;
        let heard = self.heard.clone();
        Ok(async move {
            match under_way.await {
                Ok(Ok(stored)) => {
                    *heard.0.lock() = None;
                    Ok(stored)
                }
                Ok(Err((error, _))) => Err(error),
                Err(_) => Err(KafkaError::Canceled),
            }
        })
    }

    /// Has the client ask the brokers for `topic` again. Returns how many partitions it has, if they answer.
    pub(super) async fn ask_about(self: &Arc<Self>, topic: &'static str) -> Option<i32> {
        let producer = Arc::clone(self);
        let ask = move || producer.inner.client().fetch_metadata(Some(topic), ANSWER_WAIT);
        let metadata = tokio::task::spawn_blocking(ask).await.ok()?.ok()?;
        let partitions = metadata.topics().iter().find(|described| described.name() == topic)?.partitions().len();
        i32::try_from(partitions).ok()
    }

    pub(super) fn heard(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.heard.0.lock().clone()
    }

    /// Why it takes nothing more.
    pub(super) fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.inner.client().fatal_error()
    }
}

impl ClientContext for Listening {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka");
        let Some(code) = error.rdkafka_error_code() else { return };
        // That all brokers are down follows from the errors of each, and says less.
        if code != RDKafkaErrorCode::AllBrokersDown {
            *self.0.0.lock() = Some((code, reason.to_owned()));
        }
    }
}
