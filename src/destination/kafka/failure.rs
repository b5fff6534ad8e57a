//! What a record that was not stored means for its event.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::KafkaReceipt;
use crate::outbox::Outcome;

/// A record that the client took and that was not acknowledged; `heard` is the brokers' last error.
pub(super) fn of_record(error: &KafkaError, heard: Option<(Code, String)>) -> Outcome<KafkaReceipt> {
    let code = error.rdkafka_error_code();
    let mut why = text(error);
    match (code, heard) {
        // The client goes on trying to log in until the record's time is over.
        (Some(Code::MessageTimedOut), Some((reason, said))) if blames_credentials(reason) => {
            return Outcome::Unauthorised(format!("{said}; {why}"));
        }
        (Some(Code::MessageTimedOut), Some((_, said))) => why = format!("{why}; heard last: {said}"),
        _ => {}
    }
    match code {
        Some(code) if blames_credentials(code) => Outcome::Unauthorised(why),
        Some(code) if blames_record_or_topic(code) => Outcome::Refused(why),
        Some(code) if left_nothing_behind(code) => Outcome::Retry(why),
        _ => Outcome::Unknown(why),
    }
}

/// A record that the client did not take: nothing was sent.
pub(super) fn before_hand_over(error: &KafkaError) -> Outcome<KafkaReceipt> {
    match error.rdkafka_error_code() {
        Some(code) if blames_record_or_topic(code) => Outcome::Refused(text(error)),
        _ => Outcome::Retry(text(error)),
    }
}

/// Whether the client answered for the topic, from what it remembers.
pub(super) fn is_about_topic(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(blames_record_or_topic)
}

/// The producer broke for good, and the record `failed` with it.
pub(super) fn of_producer(code: Code, why: &str, failed: Outcome<KafkaReceipt>) -> Outcome<KafkaReceipt> {
    match failed {
        _ if blames_credentials(code) => Outcome::Unauthorised(why.to_owned()),
        Outcome::Retry(_) => Outcome::Retry(format!("the producer broke: {why}")),
        Outcome::Unknown(_) => Outcome::Unknown(format!("the producer broke: {why}")),
        other => other,
    }
}

/// Who we are, or what we may do in the whole cluster: no event is to blame.
fn blames_credentials(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::IllegalSASLState
            | Code::UnsupportedSASLMechanism
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// The same record would be refused again until the topic or its rights are changed: its event goes dead, and an operator
/// retries it after that.
fn blames_record_or_topic(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType
            | Code::UnsupportedVersion
            | Code::InvalidRequiredAcks
    )
}

/// The broker did not store the record, or the client did not send it. After all other errors the outcome is unknown.
fn left_nothing_behind(code: Code) -> bool {
    matches!(
        code,
        Code::QueueFull
            | Code::InvalidDifferentRecord
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NotEnoughReplicas
            | Code::ThrottlingQuotaExceeded
    )
}

fn text(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: Code) -> Outcome<KafkaReceipt> {
        of_record(&KafkaError::MessageProduction(code), None)
    }

    #[test]
    fn what_the_broker_will_never_take_goes_dead() {
        for code in [Code::TopicAuthorizationFailed, Code::MessageSizeTooLarge, Code::UnknownTopicOrPartition] {
            assert_eq!(failed(code).name(), "refused", "{code:?}");
        }
    }

    #[test]
    fn what_was_certainly_not_stored_is_retried_and_the_rest_is_unknown() {
        for code in [Code::NotEnoughReplicas, Code::NotLeaderForPartition, Code::InvalidDifferentRecord] {
            assert_eq!(failed(code).name(), "retry", "{code:?}");
        }
        for code in [
            Code::MessageTimedOut,
            Code::NotEnoughReplicasAfterAppend,
            Code::PurgeInflight,
            // What was sent once and waits to be sent again is in the queue, too.
            Code::PurgeQueue,
            Code::Unknown,
        ] {
            assert_eq!(failed(code).name(), "unknown", "{code:?}");
        }
    }

    #[test]
    fn a_record_that_waited_for_a_login_in_vain_is_not_to_blame() {
        let timed_out = KafkaError::MessageProduction(Code::MessageTimedOut);
        let refused = (Code::Authentication, "SASL authentication error".to_owned());
        assert_eq!(of_record(&timed_out, Some(refused)).name(), "unauthorised");
        let unavailable = (Code::BrokerTransportFailure, "Connection refused".to_owned());
        let outcome = of_record(&timed_out, Some(unavailable));
        assert_eq!(outcome.name(), "unknown");
        assert!(outcome.error().is_some_and(|error| error.contains("Connection refused")));
    }

    #[test]
    fn a_fatal_error_of_the_producer_is_no_events_fault() {
        let record = || failed(Code::PurgeInflight);
        let cluster = of_producer(Code::ClusterAuthorizationFailed, "no idempotent writes", record());
        assert_eq!(cluster.name(), "unauthorised");
        assert_eq!(of_producer(Code::OutOfOrderSequenceNumber, "out of order", record()).name(), "unknown");
    }
}
