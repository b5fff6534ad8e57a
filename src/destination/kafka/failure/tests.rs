use super::*;

fn failed(code: Code) -> Outcome<KafkaReceipt> {
    of_record(&KafkaError::MessageProduction(code), None)
}

/// The record's own: too large, or against the topic's policy.
const OF_RECORD: [Code; 6] = [
    Code::MessageSizeTooLarge,
    Code::MessageBatchTooLarge,
    Code::InvalidMessageSize,
    Code::InvalidRecord,
    Code::InvalidTimestamp,
    Code::PolicyViolation,
];
/// The topic's: missing, forbidden, or too old for what we send.
const OF_TOPIC: [Code; 8] = [
    Code::TopicAuthorizationFailed,
    Code::UnknownTopic,
    Code::UnknownTopicOrPartition,
    Code::UnknownTopicId,
    Code::UnknownPartition,
    Code::InvalidTopic,
    Code::UnsupportedForMessageFormat,
    Code::UnsupportedCompressionType,
];
/// The cluster's: who we are, or what it can do.
const OF_CLUSTER: [Code; 13] = [
    Code::Authentication,
    Code::SaslAuthenticationFailed,
    Code::IllegalSASLState,
    Code::UnsupportedSASLMechanism,
    Code::UnacceptableCredential,
    Code::PrincipalDeserializationFailure,
    Code::DelegationTokenExpired,
    Code::DelegationTokenNotFound,
    Code::DelegationTokenAuthorizationFailed,
    Code::ClusterAuthorizationFailed,
    Code::TransactionalIdAuthorizationFailed,
    Code::UnsupportedVersion,
    Code::InvalidRequiredAcks,
];
/// Nobody's, and not stored.
const NOT_STORED: [Code; 6] = [
    Code::QueueFull,
    Code::InvalidDifferentRecord,
    Code::LeaderNotAvailable,
    Code::NotLeaderForPartition,
    Code::NotEnoughReplicas,
    Code::ThrottlingQuotaExceeded,
];
/// All others that librdkafka knows. They say nothing about whether the record was stored, or never come for a record.
const SAY_NOTHING: [Code; 123] = [
    Code::BadMessage,
    Code::BadCompression,
    Code::BrokerDestroy,
    Code::Fail,
    Code::BrokerTransportFailure,
    Code::CriticalSystemResource,
    Code::Resolve,
    Code::MessageTimedOut,
    Code::PartitionEOF,
    Code::FileSystem,
    Code::AllBrokersDown,
    Code::InvalidArgument,
    Code::OperationTimedOut,
    Code::ISRInsufficient,
    Code::NodeUpdate,
    Code::SSL,
    Code::WaitingForCoordinator,
    Code::UnknownGroup,
    Code::InProgress,
    Code::PreviousInProgress,
    Code::ExistingSubscription,
    Code::AssignPartitions,
    Code::RevokePartitions,
    Code::Conflict,
    Code::State,
    Code::UnknownProtocol,
    Code::NotImplemented,
    Code::NoOffset,
    Code::Outdated,
    Code::TimedOutQueue,
    Code::UnsupportedFeature,
    Code::WaitCache,
    Code::Interrupted,
    Code::KeySerialization,
    Code::ValueSerialization,
    Code::KeyDeserialization,
    Code::ValueDeserialization,
    Code::Partial,
    Code::ReadOnly,
    Code::NoEnt,
    Code::Underflow,
    Code::InvalidType,
    Code::Retry,
    // What was sent once and waits to be sent again is in the queue, too.
    Code::PurgeQueue,
    Code::PurgeInflight,
    Code::Fatal,
    Code::Inconsistent,
    Code::GaplessGuarantee,
    Code::PollExceeded,
    Code::UnknownBroker,
    Code::NotConfigured,
    Code::Fenced,
    Code::Application,
    Code::AssignmentLost,
    Code::Noop,
    Code::AutoOffsetReset,
    Code::LogTruncation,
    Code::DestroyBroker,
    Code::Unknown,
    Code::NoError,
    Code::OffsetOutOfRange,
    Code::InvalidMessage,
    Code::RequestTimedOut,
    Code::BrokerNotAvailable,
    Code::ReplicaNotAvailable,
    Code::StaleControllerEpoch,
    Code::OffsetMetadataTooLarge,
    Code::NetworkException,
    Code::CoordinatorLoadInProgress,
    Code::CoordinatorNotAvailable,
    Code::NotCoordinator,
    Code::NotEnoughReplicasAfterAppend,
    Code::IllegalGeneration,
    Code::InconsistentGroupProtocol,
    Code::InvalidGroupId,
    Code::UnknownMemberId,
    Code::InvalidSessionTimeout,
    Code::RebalanceInProgress,
    Code::InvalidCommitOffsetSize,
    Code::GroupAuthorizationFailed,
    Code::TopicAlreadyExists,
    Code::InvalidPartitions,
    Code::InvalidReplicationFactor,
    Code::InvalidReplicaAssignment,
    Code::InvalidConfig,
    Code::NotController,
    Code::InvalidRequest,
    Code::OutOfOrderSequenceNumber,
    Code::DuplicateSequenceNumber,
    Code::InvalidProducerEpoch,
    Code::InvalidTransactionalState,
    Code::InvalidProducerIdMapping,
    Code::InvalidTransactionTimeout,
    Code::ConcurrentTransactions,
    Code::TransactionCoordinatorFenced,
    Code::SecurityDisabled,
    Code::OperationNotAttempted,
    Code::KafkaStorageError,
    Code::LogDirNotFound,
    Code::UnknownProducerId,
    Code::ReassignmentInProgress,
    Code::DelegationTokenAuthDisabled,
    Code::DelegationTokenOwnerMismatch,
    Code::DelegationTokenRequestNotAllowed,
    Code::InvalidPrincipalType,
    Code::FencedLeaderEpoch,
    Code::UnknownLeaderEpoch,
    Code::StaleBrokerEpoch,
    Code::OffsetNotAvailable,
    Code::ListenerNotFound,
    Code::PreferredLeaderNotAvailable,
    Code::EligibleLeadersNotAvailable,
    Code::ElectionNotNeeded,
    Code::UnstableOffsetCommit,
    Code::ProducerFenced,
    Code::ResourceNotFound,
    Code::DuplicateResource,
    Code::InconsistentVoterSet,
    Code::InvalidUpdateVersion,
    Code::FeatureUpdateFailed,
    Code::TelemetryTooLarge,
    Code::UnknownSubscriptionId,
    Code::RebootstrapRequired,
];
/// Of consumers, their groups and admin clients: they never come for a record.
const OF_OTHERS: [Code; 14] = [
    Code::NonEmptyGroup,
    Code::GroupIdNotFound,
    Code::FetchSessionIdNotFound,
    Code::InvalidFetchSessionEpoch,
    Code::TopicDeletionDisabled,
    Code::MemberIdRequired,
    Code::GroupMaxSizeReached,
    Code::FencedInstanceId,
    Code::NoReassignmentInProgress,
    Code::GroupSubscribedToTopic,
    Code::FencedMemberEpoch,
    Code::UnreleasedInstanceId,
    Code::UnsupportedAssignor,
    Code::StaleMemberEpoch,
];
/// So many errors does librdkafka 2.12 know.
const KNOWN: usize = 170;

#[test]
fn every_error_is_judged_once() {
    let tables: [(&[Code], Fault, &str); 6] = [
        (&OF_RECORD, Fault::Record, "refused"),
        (&OF_TOPIC, Fault::Topic, "retry"),
        (&OF_CLUSTER, Fault::Cluster, "unauthorised"),
        (&NOT_STORED, Fault::NotStored, "retry"),
        (&SAY_NOTHING, Fault::Unknown, "unknown"),
        (&OF_OTHERS, Fault::Unknown, "unknown"),
    ];
    let mut seen = std::collections::HashSet::new();
    for (codes, expected, outcome) in tables {
        for code in codes {
            assert!(seen.insert(format!("{code:?}")), "{code:?} is named twice");
            assert_eq!((fault(*code), failed(*code).name()), (expected, outcome), "{code:?}");
        }
    }
    assert_eq!(seen.len(), KNOWN);
}

#[test]
fn what_is_wrong_with_a_topic_is_no_events_death() {
    for code in OF_TOPIC {
        assert!(matches!(failed(code), Outcome::LaneUnusable(_)), "{code:?}");
        assert!(is_about_topic(&KafkaError::MessageProduction(code)), "{code:?}");
    }
}

#[test]
fn a_record_is_sent_alone_if_it_may_be_refused_for_another_one() {
    for code in OF_RECORD.into_iter().chain([Code::InvalidDifferentRecord]) {
        assert!(may_be_anothers(&KafkaError::MessageProduction(code)), "{code:?}");
    }
    for code in OF_TOPIC.iter().chain(&OF_CLUSTER).chain(&SAY_NOTHING) {
        assert!(!may_be_anothers(&KafkaError::MessageProduction(*code)), "{code:?}");
    }
}

#[test]
fn nothing_is_unknown_about_a_record_that_the_client_did_not_take() {
    for code in [Code::Fatal, Code::State, Code::Unknown] {
        assert_eq!(before_hand_over(&KafkaError::MessageProduction(code)).name(), "retry", "{code:?}");
    }
    assert_eq!(before_hand_over(&KafkaError::MessageProduction(Code::MessageSizeTooLarge)).name(), "refused");
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
