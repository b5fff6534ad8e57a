//! What a record that was not stored means for its event.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::KafkaReceipt;
use crate::outbox::Outcome;

/// Whose an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The record's, or that of one that was sent in the same batch: the brokers would refuse it again.
    Record,
    /// The topic's, or our right to write it: true for all its records until somebody repairs it.
    Topic,
    /// The whole cluster's, or who we are there: true for all records until somebody repairs it.
    Cluster,
    /// Nobody's, and it passes. The broker did not store the record, or the client did not send it.
    NotStored,
    /// It does not say whether the record was stored.
    Unknown,
}

/// The one table of errors. What it does not name says nothing.
fn fault(code: Code) -> Fault {
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation => Fault::Record,
        Code::TopicAuthorizationFailed
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType => Fault::Topic,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::IllegalSASLState
        | Code::UnsupportedSASLMechanism
        | Code::UnacceptableCredential
        | Code::PrincipalDeserializationFailure
        | Code::DelegationTokenExpired
        | Code::DelegationTokenNotFound
        | Code::DelegationTokenAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::UnsupportedVersion
        | Code::InvalidRequiredAcks => Fault::Cluster,
        Code::QueueFull
        | Code::InvalidDifferentRecord
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::NotEnoughReplicas
        | Code::ThrottlingQuotaExceeded => Fault::NotStored,
        _ => Fault::Unknown,
    }
}

/// A record that the client took and that was not acknowledged; `heard` is the brokers' last error.
pub(super) fn of_record(error: &KafkaError, heard: Option<(Code, String)>) -> Outcome<KafkaReceipt> {
    let code = error.rdkafka_error_code();
    let mut why = text(error);
    match (code, heard) {
        // The client goes on trying to log in until the record's time is over.
        (Some(Code::MessageTimedOut), Some((reason, said))) if fault(reason) == Fault::Cluster => {
            return Outcome::Unauthorised(format!("{said}; {why}"));
        }
        (Some(Code::MessageTimedOut), Some((_, said))) => why = format!("{why}; heard last: {said}"),
        _ => {}
    }
    match code.map(fault) {
        Some(Fault::Cluster) => Outcome::Unauthorised(why),
        Some(Fault::Topic) => Outcome::LaneUnusable(why),
        Some(Fault::Record) => Outcome::Refused(why),
        Some(Fault::NotStored) => Outcome::Retry(why),
        Some(Fault::Unknown) | None => Outcome::Unknown(why),
    }
}

/// A record that the client did not take: nothing was sent.
pub(super) fn before_hand_over(error: &KafkaError) -> Outcome<KafkaReceipt> {
    match of_record(error, None) {
        Outcome::Unknown(why) => Outcome::Retry(why),
        outcome => outcome,
    }
}

/// Whether the client answered for the topic, from what it remembers.
pub(super) fn is_about_topic(error: &KafkaError) -> bool {
    error.rdkafka_error_code().map(fault) == Some(Fault::Topic)
}

/// Whether brokers may store the record if it is sent by itself: they refuse a batch as a whole for one record in it.
pub(super) fn may_be_anothers(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    code == Some(Code::InvalidDifferentRecord) || code.map(fault) == Some(Fault::Record)
}

/// The producer broke for good, and the record `failed` with it.
pub(super) fn of_producer(code: Code, why: &str, failed: Outcome<KafkaReceipt>) -> Outcome<KafkaReceipt> {
    match failed {
        _ if fault(code) == Fault::Cluster => Outcome::Unauthorised(why.to_owned()),
        Outcome::Retry(_) => Outcome::Retry(format!("the producer broke: {why}")),
        Outcome::Unknown(_) => Outcome::Unknown(format!("the producer broke: {why}")),
        other => other,
    }
}

fn text(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
