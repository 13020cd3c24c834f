//! Login: both sides against each other with random wishes and secrets, known initiators' PDUs, and bad input.

use iscsi::login::*;
use iscsi::pdu::{Command, FromInitiator, FromTarget, Isid, LoginRequest, Stage, Tag};
use iscsi::{Keys, Serial};
use proptest::prelude::*;

const TARGET: &str = "iqn.2026-11.example:disk";
const INITIATOR: &str = "iqn.2026-11.example:n1";

/// A directory with one target.
struct One(Authentication);

impl Directory for One {
    fn admit(&self, applicant: &Applicant<'_>) -> Result<Admission, LoginStatus> {
        if applicant.tsih != 0 {
            return Err(LoginStatus::NO_SESSION);
        }
        if applicant.target.is_some_and(|name| name != TARGET) {
            return Err(LoginStatus::NOT_FOUND);
        }
        Ok(Admission {
            portal_group: 1,
            tsih: 7,
            authentication: self.0.clone(),
            window: 32,
        })
    }
}

fn credentials(name: &str, secret: &str) -> Credentials {
    Credentials {
        name: name.into(),
        secret: Secret::new(secret.into()).unwrap(),
    }
}

fn chap(own: Option<Credentials>) -> One {
    let accounts = vec![
        credentials("other", "other-secret-1"),
        credentials("n1", "secret-of-n1!"),
    ];
    One(Authentication::Chap { accounts, own })
}

fn options() -> LoginOptions {
    LoginOptions {
        initiator: INITIATOR.into(),
        target: Some(TARGET.into()),
        isid: Isid([0x80, 1, 2, 3, 4, 5]),
        wishes: Wishes::default(),
        algorithms: Algorithm::ALL.to_vec(),
        credentials: None,
        target_credentials: None,
    }
}

/// Bytes that are different each time: enough for tests.
fn random() -> impl FnMut(&mut [u8]) {
    let mut state = 0x9E37_79B9_u32;
    move |bytes| {
        for byte in bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = state.to_be_bytes()[0];
        }
    }
}

type Ends = (Result<Established, LoginError>, LoginOutcome);

/// Runs both sides until one of them is done. Every PDU goes over the wire.
fn log_in(options: LoginOptions, directory: &One, wishes: Wishes) -> Ends {
    let (mut asks, mut answers) = (random(), random());
    // The two sides do not share their random bytes.
    asks(&mut [0; 5]);
    let mut requester = LoginRequester::new(options);
    let mut responder = LoginResponder::new(wishes);
    let (mut request, mut text) = requester.start();
    for _ in 0..40 {
        let header = request.header();
        let Ok(FromInitiator::Login(received)) = FromInitiator::parse(&header) else {
            panic!("{request:?}")
        };
        let reply = responder.handle(&received, &text, directory, &mut answers);
        let header = reply.response.header();
        let Ok(FromTarget::Login(response)) = FromTarget::parse(&header) else {
            panic!("{reply:?}")
        };
        match requester.handle(&response, &reply.text, &mut asks) {
            Ok(LoginStep::Send(next, more)) => (request, text) = (next, more),
            Ok(LoginStep::LoggedIn(established)) => return (Ok(*established), reply.outcome),
            Err(error) => return (Err(error), reply.outcome),
        }
    }
    panic!("the login does not end")
}

fn both(ends: Ends) -> (Established, Established) {
    let LoginOutcome::LoggedIn(target) = ends.1 else {
        panic!("{ends:?}")
    };
    (ends.0.unwrap(), *target)
}

#[test]
fn without_authentication_one_exchange_is_enough() {
    let mut requester = LoginRequester::new(options());
    let (request, text) = requester.start();
    assert_eq!(
        (request.stage, request.next),
        (Stage::Operational, Some(Stage::FullFeature))
    );
    let mut responder = LoginResponder::new(Wishes::default());
    let reply = responder.handle(&request, &text, &One(Authentication::None), &mut random());
    assert!(matches!(reply.outcome, LoginOutcome::LoggedIn(_)));
    let keys = Keys::parse(&reply.text).unwrap();
    assert_eq!(keys.get("TargetPortalGroupTag"), Some("1"));
    assert_eq!(reply.response.tsih, 7);
}

#[test]
fn chap_one_way_and_both_ways() {
    let one_way = LoginOptions {
        credentials: Some(credentials("n1", "secret-of-n1!")),
        ..options()
    };
    let (initiator, target) = both(log_in(one_way.clone(), &chap(None), Wishes::default()));
    assert_eq!(initiator.authenticated.as_deref(), Some("n1"));
    assert_eq!(target.authenticated.as_deref(), Some("n1"));
    let mutual = LoginOptions {
        target_credentials: Some(credentials("disk", "secret-of-disk")),
        ..one_way
    };
    let directory = chap(Some(credentials("disk", "secret-of-disk")));
    both(log_in(mutual.clone(), &directory, Wishes::default()));

    let impostor = chap(Some(credentials("disk", "another-secret")));
    let (error, _) = log_in(mutual.clone(), &impostor, Wishes::default());
    assert_eq!(error, Err(LoginError::Unproved));
    let namesake = chap(Some(credentials("another", "secret-of-disk")));
    let (error, _) = log_in(mutual.clone(), &namesake, Wishes::default());
    assert_eq!(error, Err(LoginError::Unproved));
    // A target that wants no authentication proves nothing either.
    let (error, outcome) = log_in(mutual, &One(Authentication::None), Wishes::default());
    assert_eq!(error, Err(LoginError::Refused(LoginStatus::AUTHENTICATION)));
    assert_eq!(outcome, LoginOutcome::Refused(LoginStatus::AUTHENTICATION));
}

/// Each algorithm by itself; and one that was not offered is not taken.
#[test]
fn every_algorithm_works_if_it_is_offered() {
    let with = |algorithms: Vec<Algorithm>| LoginOptions {
        algorithms,
        credentials: Some(credentials("n1", "secret-of-n1!")),
        ..options()
    };
    for algorithm in Algorithm::ALL {
        both(log_in(
            with(vec![algorithm]),
            &chap(None),
            Wishes::default(),
        ));
    }
    let (error, _) = log_in(with(vec![]), &chap(None), Wishes::default());
    assert_eq!(error, Err(LoginError::Refused(LoginStatus::AUTHENTICATION)));

    let mut requester = LoginRequester::new(with(vec![Algorithm::Sha256]));
    let mut random = random();
    let (request, _) = requester.start();
    let mut responder = LoginResponder::new(Wishes::default());
    let first = text(&[NAMES[0], NAMES[1], ("AuthMethod", "CHAP")]);
    let reply = responder.handle(&request, &first, &chap(None), &mut random);
    let step = requester.handle(&reply.response, &reply.text, &mut random);
    let Ok(LoginStep::Send(request, _)) = step else {
        panic!("{step:?}")
    };
    let reply = responder.handle(
        &request,
        &text(&[("CHAP_A", "5")]),
        &chap(None),
        &mut random,
    );
    let error = requester.handle(&reply.response, &reply.text, &mut random);
    assert_eq!(error, Err(LoginError::Protocol("its CHAP challenge")));
}

#[test]
fn who_does_not_prove_itself_is_refused() {
    let refused = LoginError::Refused(LoginStatus::AUTHENTICATION);
    for (name, secret) in [
        ("n1", "secret-of-n2!"),
        ("n2", "secret-of-n1!"),
        ("other", "secret-of-n1!"),
    ] {
        let options = LoginOptions {
            credentials: Some(credentials(name, secret)),
            ..options()
        };
        let (error, _) = log_in(options, &chap(None), Wishes::default());
        assert_eq!(error, Err(refused.clone()), "{name} {secret}");
    }
    // Straight to the operational stage.
    let (error, _) = log_in(options(), &chap(None), Wishes::default());
    assert_eq!(error, Err(refused));
}

/// A target that leaves a stage before it was asked to would spare itself the proof.
#[test]
fn no_transit_that_was_not_asked_for() {
    let mutual = LoginOptions {
        credentials: Some(credentials("n1", "secret-of-n1!")),
        target_credentials: Some(credentials("disk", "secret-of-disk")),
        ..options()
    };
    for next in [Stage::Operational, Stage::FullFeature] {
        let mut requester = LoginRequester::new(mutual.clone());
        let (request, text) = requester.start();
        let mut responder = LoginResponder::new(Wishes::default());
        let directory = chap(Some(credentials("disk", "secret-of-disk")));
        let mut reply = responder.handle(&request, &text, &directory, &mut random());
        reply.response.next = Some(next);
        reply.response.tsih = 1;
        let error = requester.handle(&reply.response, &reply.text, &mut random());
        let expected = LoginError::Protocol("a transit that was not asked for");
        assert_eq!(error, Err(expected));
    }
}

#[test]
fn one_secret_for_both_ways_is_refused() {
    let options = LoginOptions {
        credentials: Some(credentials("n1", "secret-of-n1!")),
        target_credentials: Some(credentials("disk", "secret-of-n1!")),
        ..options()
    };
    let directory = chap(Some(credentials("disk", "secret-of-n1!")));
    let (error, _) = log_in(options, &directory, Wishes::default());
    assert_eq!(error, Err(LoginError::Authentication));
}

fn request(stage: Stage, next: Option<Stage>) -> LoginRequest {
    LoginRequest {
        stage,
        next,
        goes_on: false,
        version_max: 0,
        version_min: 0,
        isid: Isid([0x80, 1, 2, 3, 4, 5]),
        tsih: 0,
        tag: Tag(1),
        cid: 1,
        command: Command {
            immediate: true,
            number: Serial(100),
            expected_status: Serial(0),
        },
    }
}

fn text(keys: &[(&str, &str)]) -> Vec<u8> {
    let mut text = Keys::new();
    for (key, value) in keys {
        text.push(key, value);
    }
    text.encode()
}

const NAMES: [(&str, &str); 2] = [("InitiatorName", INITIATOR), ("TargetName", TARGET)];

/// Sends requests one after another; the last reply.
fn replies(directory: &One, requests: &[(LoginRequest, Vec<u8>)]) -> LoginReply {
    let mut responder = LoginResponder::new(Wishes::default());
    let mut random = random();
    let mut last = None;
    for (request, text) in requests {
        last = Some(responder.handle(request, text, directory, &mut random));
    }
    last.unwrap()
}

#[track_caller]
fn refused(directory: &One, requests: &[(LoginRequest, Vec<u8>)], status: LoginStatus) {
    let reply = replies(directory, requests);
    assert_eq!(reply.outcome, LoginOutcome::Refused(status));
    assert_eq!(reply.response.status, status.0);
}

#[test]
fn a_challenge_thrown_back_is_refused() {
    let directory = chap(Some(credentials("disk", "secret-of-disk")));
    let mut responder = LoginResponder::new(Wishes::default());
    let mut random = random();
    let security = request(Stage::Security, None);
    let first = text(&[NAMES[0], NAMES[1], ("AuthMethod", "CHAP")]);
    responder.handle(&security, &first, &directory, &mut random);
    let reply = responder.handle(
        &security,
        &text(&[("CHAP_A", "5")]),
        &directory,
        &mut random,
    );
    let keys = Keys::parse(&reply.text).unwrap();
    let challenge = keys.get("CHAP_C").unwrap();
    let bytes: Vec<u8> = (2..challenge.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&challenge[at..at + 2], 16).unwrap())
        .collect();
    let identifier = keys.get("CHAP_I").unwrap().parse().unwrap();
    let secret = credentials("n1", "secret-of-n1!").secret;
    let proof = Algorithm::Md5.response(identifier, &secret, &bytes);
    let proof: String = proof.iter().map(|byte| format!("{byte:02X}")).collect();
    let answer = text(&[
        ("CHAP_N", "n1"),
        ("CHAP_R", &format!("0X{proof}")),
        ("CHAP_I", "1"),
        ("CHAP_C", challenge),
    ]);
    let reply = responder.handle(&security, &answer, &directory, &mut random);
    assert_eq!(
        reply.outcome,
        LoginOutcome::Refused(LoginStatus::AUTHENTICATION)
    );
}

#[test]
fn every_refusal_has_its_status() {
    let free = One(Authentication::None);
    let first = request(Stage::Operational, Some(Stage::FullFeature));
    let names = text(&NAMES);
    refused(
        &free,
        &[(first, text(&NAMES[1..]))],
        LoginStatus::MISSING_PARAMETER,
    );
    refused(
        &free,
        &[(first, text(&NAMES[..1]))],
        LoginStatus::MISSING_PARAMETER,
    );
    let odd = text(&[NAMES[0], NAMES[1], ("SessionType", "Odd")]);
    refused(&free, &[(first, odd)], LoginStatus::SESSION_TYPE);
    let other = text(&[NAMES[0], ("TargetName", "iqn.2026-11.example:none")]);
    refused(&free, &[(first, other)], LoginStatus::NOT_FOUND);
    let nameless = text(&[("InitiatorName", "n1"), NAMES[1]]);
    refused(&free, &[(first, nameless)], LoginStatus::INITIATOR_ERROR);
    let newer = LoginRequest {
        version_min: 1,
        ..first
    };
    refused(&free, &[(newer, names.clone())], LoginStatus::VERSION);
    let joins = LoginRequest { tsih: 9, ..first };
    refused(&free, &[(joins, names.clone())], LoginStatus::NO_SESSION);
    refused(
        &free,
        &[(first, b"no text".to_vec())],
        LoginStatus::INITIATOR_ERROR,
    );
    let security = text(&[NAMES[0], NAMES[1], ("AuthMethod", "KRB5")]);
    let stage = request(Stage::Security, None);
    refused(
        &free,
        &[(stage, security.clone())],
        LoginStatus::AUTHENTICATION,
    );
    refused(
        &chap(None),
        &[(stage, security)],
        LoginStatus::AUTHENTICATION,
    );
    // Another ISID, another stage, and a transit amid text.
    let slow = request(Stage::Operational, None);
    let changed = LoginRequest {
        isid: Isid([1; 6]),
        ..slow
    };
    refused(
        &free,
        &[(slow, names.clone()), (changed, vec![])],
        LoginStatus::INITIATOR_ERROR,
    );
    refused(
        &free,
        &[(slow, names.clone()), (stage, vec![])],
        LoginStatus::INITIATOR_ERROR,
    );
    let amid = LoginRequest {
        goes_on: true,
        ..first
    };
    refused(
        &free,
        &[(amid, names.clone())],
        LoginStatus::INITIATOR_ERROR,
    );
    // Without end.
    let mut endless = vec![(slow, names)];
    endless.resize(40, (slow, vec![]));
    refused(&free, &endless, LoginStatus::INITIATOR_ERROR);
    let more = LoginRequest {
        goes_on: true,
        ..slow
    };
    refused(
        &free,
        &vec![(more, vec![b'a'; 8192]); 9],
        LoginStatus::INITIATOR_ERROR,
    );
}

#[test]
fn no_transit_before_the_proof() {
    let security = request(Stage::Security, Some(Stage::FullFeature));
    let keys = text(&[NAMES[0], NAMES[1], ("AuthMethod", "CHAP,None")]);
    let reply = replies(&chap(None), &[(security, keys.clone())]);
    assert_eq!(
        (reply.response.next, reply.outcome),
        (None, LoginOutcome::GoesOn)
    );
    let again = (security, vec![]);
    let reply = replies(&chap(None), &[(security, keys), again]);
    assert_eq!(
        (reply.response.next, reply.outcome),
        (None, LoginOutcome::GoesOn)
    );
}

#[test]
fn unknown_keys_are_not_understood_and_text_may_come_in_pieces() {
    let free = One(Authentication::None);
    let keys = text(&[
        NAMES[0],
        NAMES[1],
        ("X-com.example.key", "1"),
        ("IFMarkInt", "1~2"),
    ]);
    let (start, end) = keys.split_at(30);
    let first = LoginRequest {
        goes_on: true,
        ..request(Stage::Operational, None)
    };
    let last = request(Stage::Operational, Some(Stage::FullFeature));
    let reply = replies(&free, &[(first, start.to_vec())]);
    assert_eq!((reply.text.len(), reply.outcome), (0, LoginOutcome::GoesOn));
    let reply = replies(&free, &[(first, start.to_vec()), (last, end.to_vec())]);
    let answers = Keys::parse(&reply.text).unwrap();
    assert_eq!(answers.get("X-com.example.key"), Some("NotUnderstood"));
    assert_eq!(answers.get("IFMarkInt"), Some("Reject"));
    let LoginOutcome::LoggedIn(session) = reply.outcome else {
        panic!()
    };
    assert_eq!(
        (session.next_command, session.last_command),
        (Serial(100), Serial(131))
    );
    assert_eq!(session.next_status, Serial(2));
}

#[test]
fn long_answers_come_in_pieces() {
    let free = One(Authentication::None);
    let long: Vec<(String, String)> = (0..110)
        .map(|at| (format!("X-{at:060}"), "v".repeat(5)))
        .collect();
    let mut keys = NAMES.to_vec();
    keys.extend(
        long.iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    );
    let last = request(Stage::Operational, Some(Stage::FullFeature));
    let mut responder = LoginResponder::new(Wishes::default());
    let reply = responder.handle(&last, &text(&keys), &free, &mut random());
    assert!(reply.response.goes_on && reply.response.next.is_none());
    assert!(reply.text.len() <= 8192);
    let rest = responder.handle(&last, &[], &free, &mut random());
    assert!(matches!(rest.outcome, LoginOutcome::LoggedIn(_)));
    let whole = [reply.text, rest.text].concat();
    assert_eq!(
        Keys::parse(&whole).unwrap().get(&long[109].0),
        Some("NotUnderstood")
    );
}

#[test]
fn a_target_that_moved_says_where() {
    let mut requester = LoginRequester::new(options());
    let (request, _) = requester.start();
    let mut responder = LoginResponder::new(Wishes::default());
    let free = One(Authentication::None);
    let mut reply = responder.handle(&request, b"", &free, &mut random());
    reply.response.status = LoginStatus::MOVED_TEMPORARILY.0;
    let text = text(&[("TargetAddress", "[2001:db8::1]:3260,1")]);
    let error = requester.handle(&reply.response, &text, &mut random());
    let address = "[2001:db8::1]:3260,1".to_owned();
    assert_eq!(
        error,
        Err(LoginError::Moved {
            address,
            permanently: false
        })
    );
}

fn digest() -> impl Strategy<Value = Digest> {
    proptest::sample::select(vec![
        Digest::Refuse,
        Digest::Accept,
        Digest::Prefer,
        Digest::Require,
    ])
}

fn wishes() -> impl Strategy<Value = Wishes> {
    let length = || prop_oneof![Just(512_u32), 512_u32..(1 << 24), 512_u32..70_000];
    (
        (digest(), digest(), any::<bool>(), any::<bool>()),
        (length(), length(), length()),
        (1_u32..65_536, 0_u32..3601, 0_u32..3601),
    )
        .prop_map(|(flags, lengths, numbers)| Wishes {
            header_digest: flags.0,
            data_digest: flags.1,
            limits: Parameters {
                initial_r2t: flags.2,
                immediate_data: flags.3,
                max_receive: lengths.0,
                max_burst: lengths.1,
                first_burst: lengths.2,
                max_outstanding_r2t: numbers.0,
                time_to_wait: numbers.1,
                time_to_retain: numbers.2,
                ..Parameters::default()
            },
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Both sides end with the same parameters, which keep within what each can do; or both fail.
    #[test]
    fn both_sides_agree(initiator in wishes(), target in wishes(), discovery: bool, secure: bool) {
        let options = LoginOptions {
            wishes: initiator,
            target: (!discovery).then(|| TARGET.into()),
            credentials: secure.then(|| credentials("n1", "secret-of-n1!")),
            ..options()
        };
        let directory = if secure { chap(None) } else { One(Authentication::None) };
        let clash = |a, b| matches!((a, b), (Digest::Refuse, Digest::Require) | (Digest::Require, Digest::Refuse));
        let clashes = clash(initiator.header_digest, target.header_digest)
            || clash(initiator.data_digest, target.data_digest);
        let ends = log_in(options, &directory, target);
        if clashes {
            prop_assert!(ends.0.is_err());
            return Ok(());
        }
        let (ours, theirs) = both(ends);
        let (a, b) = (ours.parameters, theirs.parameters);
        prop_assert_eq!((a.max_receive, a.max_send), (b.max_send, b.max_receive));
        let swapped = Parameters { max_receive: b.max_send, max_send: b.max_receive, ..b };
        prop_assert_eq!(a, swapped);
        prop_assert_eq!((ours.next_command, ours.last_command), (theirs.next_command, theirs.last_command));
        prop_assert_eq!(ours.next_status, theirs.next_status);
        prop_assert_eq!(a.max_send, target.limits.max_receive);
        if !discovery {
            prop_assert_eq!(a.max_burst, initiator.limits.max_burst.min(target.limits.max_burst));
            prop_assert_eq!(a.initial_r2t, initiator.limits.initial_r2t || target.limits.initial_r2t);
            prop_assert!(a.first_burst <= a.max_burst);
        }
    }

    /// Any text in any order of stages: refused or answered, never a panic, never in without a proof.
    #[test]
    fn anything_may_come(
        steps in proptest::collection::vec(
            (0_u8..12, any::<bool>(), proptest::collection::vec(0_usize..14, 0..6), any::<Vec<u8>>()), 1..12),
    ) {
        const SOME: [(&str, &str); 14] = [
            NAMES[0], NAMES[1], ("AuthMethod", "CHAP"), ("AuthMethod", "None"), ("CHAP_A", "5"), ("CHAP_N", "n1"),
            ("CHAP_R", "0x00"), ("CHAP_I", "0"), ("CHAP_C", "0b//79"), ("MaxBurstLength", "0"),
            ("InitialR2T", "No"), ("HeaderDigest", ","), ("SessionType", "Discovery"), ("TargetPortalGroupTag", "1"),
        ];
        let directory = chap(Some(credentials("disk", "secret-of-disk")));
        let mut responder = LoginResponder::new(Wishes::default());
        let mut requester = LoginRequester::new(options());
        requester.start();
        let mut random = random();
        for (flags, goes_on, keys, junk) in steps {
            let stage = if flags & 1 == 0 { Stage::Security } else { Stage::Operational };
            let next = (flags & 2 != 0).then_some(Stage::FullFeature);
            let keys: Vec<_> = keys.into_iter().map(|at| SOME[at]).collect();
            let text = if flags & 12 == 8 { junk } else { text(&keys) };
            let request = LoginRequest { goes_on, ..request(stage, next) };
            let reply = responder.handle(&request, &text, &directory, &mut random);
            prop_assert!(reply.text.len() <= 8192);
            prop_assert!(!matches!(reply.outcome, LoginOutcome::LoggedIn(_)));
            let _ = requester.handle(&reply.response, &text, &mut random);
        }
    }
}
