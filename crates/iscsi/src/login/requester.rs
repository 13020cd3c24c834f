//! The initiator's side of the login.

use crate::exchange::{Gathering, Pieces};
use crate::login::chap::{Algorithm, Credentials, Question};
use crate::login::parameters::{NOT_UNDERSTOOD, agree, offers};
use crate::login::{
    Disagreement, Established, LOGIN_SEGMENT, LoginStatus, MAX_KEYS, MAX_PDUS, Wishes, value,
};
use crate::pdu::{Command, Isid, LoginRequest, LoginResponse, Stage, Tag};
use crate::text::KeyError;
use crate::{Keys, Serial};

/// What an initiator wants.
#[derive(Debug, Clone)]
pub struct LoginOptions {
    /// InitiatorName
    pub initiator: String,
    /// TargetName; `None` for a discovery session.
    pub target: Option<String>,
    /// Initiator session id. The same one names the same initiator port, and so the same registrant.
    pub isid: Isid,
    /// What this side is ready for.
    pub wishes: Wishes,
    /// The CHAP algorithms to offer, the best first; [`Algorithm::ALL`] unless the target is known not to cope. Some old
    /// ones (tgt) take number 7 for SHA-1: with them only MD5 works.
    pub algorithms: Vec<Algorithm>,
    /// What it proves itself with.
    pub credentials: Option<Credentials>,
    /// What the target must prove itself with. Only together with [`Self::credentials`].
    pub target_credentials: Option<Credentials>,
}

/// Why a login failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The target said no.
    #[error("the target refused the login: {0}")]
    Refused(LoginStatus),
    /// The target is elsewhere.
    #[error("the target moved to {address}")]
    Moved {
        /// TargetAddress
        address: String,
        /// For good.
        permanently: bool,
    },
    /// The target did not prove who it is.
    #[error("the target did not prove that it knows its secret")]
    Unproved,
    /// The target wants, or knows, no method that this side could use.
    #[error("no way to authenticate in common with the target")]
    Authentication,
    /// The target answered something that it was not asked, or not in time.
    #[error("the target breaks the rules of the login: {0}")]
    Protocol(&'static str),
    /// The text is none.
    #[error("the target's text")]
    Text(#[from] KeyError),
    /// An answer that does not fit the offer.
    #[error("the target's answer")]
    Disagreement(#[from] Disagreement),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginStep {
    /// This PDU is sent.
    Send(LoginRequest, Vec<u8>),
    /// Full feature phase.
    LoggedIn(Box<Established>),
}

/// What has been said, and what is expected.
#[derive(Debug)]
enum Phase {
    /// AuthMethod was offered.
    Method,
    /// CHAP_A was offered.
    Algorithm,
    /// The response was sent; with our own question, if the target must prove itself.
    Proof(Option<Question>),
    /// Everything is offered in the operational stage.
    Offer,
}

/// The initiator's side of the login on one connection.
#[derive(Debug)]
pub struct LoginRequester {
    options: LoginOptions,
    phase: Phase,
    stage: Stage,
    gathering: Gathering,
    pieces: Pieces,
    /// The transit to ask for once all pieces are out.
    wanted: Option<Stage>,
    answers: Keys,
    portal_group: Option<u16>,
    authenticated: bool,
    responses: u32,
    next_status: Option<Serial>,
}

/// The first CmdSN. Any will do.
const FIRST_COMMAND: Serial = Serial(1);
/// ITT of the login.
const LOGIN_TAG: Tag = Tag(0);
/// CID of the only connection.
const CID: u16 = 0;

impl LoginRequester {
    /// A login that has not begun.
    #[must_use]
    pub fn new(options: LoginOptions) -> Self {
        let secure = options.credentials.is_some();
        Self {
            phase: if secure { Phase::Method } else { Phase::Offer },
            stage: if secure {
                Stage::Security
            } else {
                Stage::Operational
            },
            options,
            gathering: Gathering::default(),
            pieces: Pieces::default(),
            wanted: None,
            answers: Keys::new(),
            portal_group: None,
            authenticated: false,
            responses: 0,
            next_status: None,
        }
    }

    /// The first PDU, with its data segment.
    pub fn start(&mut self) -> (LoginRequest, Vec<u8>) {
        let mut keys = Keys::new();
        keys.push("InitiatorName", &self.options.initiator);
        match &self.options.target {
            Some(target) => {
                keys.push("TargetName", target);
                keys.push("SessionType", "Normal");
            }
            None => keys.push("SessionType", "Discovery"),
        }
        if self.stage == Stage::Security {
            // A target that must prove itself cannot do so without CHAP.
            let mutual = self.options.target_credentials.is_some();
            keys.push("AuthMethod", if mutual { "CHAP" } else { "CHAP,None" });
            return self.say(&keys, None);
        }
        self.offer(keys)
    }

    /// Takes a response with the text of its data segment. `random` fills bytes that nobody can guess.
    ///
    /// # Errors
    /// If the login failed; the connection is closed.
    pub fn handle(
        &mut self,
        response: &LoginResponse,
        text: &[u8],
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<LoginStep, LoginError> {
        self.check(response, text)?;
        let gathered = self.gathering.take(text, response.goes_on)?;
        let Some(keys) = gathered else {
            let (request, text) = self.piece(None);
            return Ok(LoginStep::Send(request, text));
        };
        if keys.iter().count() > MAX_KEYS {
            return Err(LoginError::Protocol("too many keys"));
        }
        if !self.pieces.is_empty() {
            // The target asked for the rest of what is being said.
            let (request, text) = self.piece(self.wanted);
            return Ok(LoginStep::Send(request, text));
        }
        if let Some(group) = keys.get("TargetPortalGroupTag") {
            let group = value::number(group).and_then(|group| u16::try_from(group).ok());
            self.portal_group = Some(group.ok_or(LoginError::Protocol("TargetPortalGroupTag"))?);
        }
        match self.stage {
            Stage::Security => self.secure(response, &keys, random),
            _ => self.negotiate(response, &keys),
        }
    }

    fn check(&mut self, response: &LoginResponse, text: &[u8]) -> Result<(), LoginError> {
        self.responses += 1;
        let status = LoginStatus(response.status);
        if status != LoginStatus::SUCCESS {
            return Err(refusal(status, text));
        }
        if self.responses > MAX_PDUS {
            return Err(LoginError::Protocol("too many responses"));
        }
        if response.isid != self.options.isid || response.tag != LOGIN_TAG {
            return Err(LoginError::Protocol("an answer to another login"));
        }
        if response.version != 0 {
            return Err(LoginError::Protocol("another version"));
        }
        let transits = response.next.is_some();
        if response.stage != self.stage || transits && response.goes_on {
            return Err(LoginError::Protocol("another stage"));
        }
        if transits && response.next != self.wanted {
            return Err(LoginError::Protocol("a transit that was not asked for"));
        }
        let expected = self.next_status.unwrap_or(response.answer.status_number);
        if response.answer.status_number != expected {
            return Err(LoginError::Protocol("StatSN"));
        }
        self.next_status = Some(expected.plus(1));
        Ok(())
    }

    /// A step of the security stage.
    fn secure(
        &mut self,
        response: &LoginResponse,
        keys: &Keys,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<LoginStep, LoginError> {
        match &self.phase {
            Phase::Method => {
                let mutual = self.options.target_credentials.is_some();
                match keys.get("AuthMethod") {
                    Some("CHAP") => {
                        let offered = self.options.algorithms.iter();
                        let codes: Vec<_> = offered.map(|one| one.code().to_string()).collect();
                        let mut keys = Keys::new();
                        keys.push("CHAP_A", codes.join(","));
                        self.phase = Phase::Algorithm;
                        Ok(self.send(&keys, None))
                    }
                    Some("None") if !mutual => {
                        self.phase = Phase::Proof(None);
                        Ok(self.send(&Keys::new(), Some(Stage::Operational)))
                    }
                    _ => Err(LoginError::Authentication),
                }
            }
            Phase::Algorithm => self.prove(keys, random),
            Phase::Proof(question) => {
                if let Some(question) = question {
                    self.verify(question, keys)?;
                }
                if response.next.is_none() {
                    return Err(LoginError::Protocol("no end of the security stage"));
                }
                self.stage = Stage::Operational;
                let (request, text) = self.offer(Keys::new());
                Ok(LoginStep::Send(request, text))
            }
            Phase::Offer => Err(LoginError::Protocol("another stage")),
        }
    }

    /// Answers the target's challenge.
    fn prove(
        &mut self,
        keys: &Keys,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<LoginStep, LoginError> {
        let bad = LoginError::Protocol("its CHAP challenge");
        let algorithm = keys
            .get("CHAP_A")
            .and_then(Algorithm::from_code)
            .filter(|chosen| self.options.algorithms.contains(chosen));
        let identifier = keys
            .get("CHAP_I")
            .and_then(value::number)
            .and_then(|identifier| u8::try_from(identifier).ok());
        let challenge = keys.get("CHAP_C").and_then(value::decode);
        let (Some(algorithm), Some(identifier), Some(challenge)) =
            (algorithm, identifier, challenge)
        else {
            return Err(bad);
        };
        let own = self.options.credentials.as_ref();
        let own = own.ok_or(LoginError::Authentication)?;
        let proof = algorithm.response(identifier, &own.secret, &challenge);
        let mut answers = Keys::new();
        answers.push("CHAP_N", &own.name);
        answers.push("CHAP_R", value::encode(&proof));
        let question = match &self.options.target_credentials {
            None => None,
            // With one secret for both ways the target could throw our answer back.
            Some(theirs) if theirs.secret.same(&own.secret) => {
                return Err(LoginError::Authentication);
            }
            Some(_) => Some(Question::ask(algorithm, random)),
        };
        if let Some(question) = &question {
            if question.challenge == challenge {
                return Err(bad);
            }
            answers.push("CHAP_I", question.identifier);
            answers.push("CHAP_C", value::encode(&question.challenge));
        }
        self.phase = Phase::Proof(question);
        self.authenticated = true;
        Ok(self.send(&answers, Some(Stage::Operational)))
    }

    fn verify(&self, question: &Question, keys: &Keys) -> Result<(), LoginError> {
        let theirs = self.options.target_credentials.as_ref();
        let theirs = theirs.ok_or(LoginError::Unproved)?;
        let response = keys.get("CHAP_R").and_then(value::decode);
        let proved = keys.get("CHAP_N") == Some(&theirs.name)
            && response.is_some_and(|response| question.answered(&theirs.secret, &response));
        if proved {
            Ok(())
        } else {
            Err(LoginError::Unproved)
        }
    }

    /// A step of the operational stage.
    fn negotiate(
        &mut self,
        response: &LoginResponse,
        keys: &Keys,
    ) -> Result<LoginStep, LoginError> {
        let discovery = self.options.target.is_none();
        let ours = offers(&self.options.wishes, discovery);
        let mut unknown = Keys::new();
        for (key, value) in keys.iter() {
            let said = self.answers.get(key).is_some();
            if ours.get(key).is_some() && !said {
                self.answers.push(key, value);
            } else if !matches!(
                key,
                "TargetPortalGroupTag" | "TargetAlias" | "TargetAddress"
            ) {
                let refused = matches!(value, "Reject" | "Irrelevant" | NOT_UNDERSTOOD);
                if !refused {
                    unknown.push(key, NOT_UNDERSTOOD);
                }
            }
        }
        if response.next == Some(Stage::FullFeature) {
            return self.establish(response);
        }
        Ok(self.send(&unknown, Some(Stage::FullFeature)))
    }

    fn establish(&self, response: &LoginResponse) -> Result<LoginStep, LoginError> {
        if response.tsih == 0 {
            return Err(LoginError::Protocol("no session id"));
        }
        let discovery = self.options.target.is_none();
        let name = self.options.credentials.as_ref();
        Ok(LoginStep::LoggedIn(Box::new(Established {
            initiator: self.options.initiator.clone(),
            target: self.options.target.clone(),
            isid: self.options.isid,
            tsih: response.tsih,
            cid: CID,
            portal_group: self.portal_group,
            authenticated: name
                .filter(|_| self.authenticated)
                .map(|own| own.name.clone()),
            parameters: agree(&self.options.wishes, discovery, &self.answers)?,
            next_command: FIRST_COMMAND,
            last_command: response.answer.last_command,
            next_status: response.answer.status_number.plus(1),
        })))
    }

    /// All operational keys at once.
    fn offer(&mut self, mut keys: Keys) -> (LoginRequest, Vec<u8>) {
        let discovery = self.options.target.is_none();
        for (key, value) in offers(&self.options.wishes, discovery).iter() {
            keys.push(key, value);
        }
        self.phase = Phase::Offer;
        self.say(&keys, Some(Stage::FullFeature))
    }

    fn send(&mut self, keys: &Keys, next: Option<Stage>) -> LoginStep {
        let (request, text) = self.say(keys, next);
        LoginStep::Send(request, text)
    }

    fn say(&mut self, keys: &Keys, next: Option<Stage>) -> (LoginRequest, Vec<u8>) {
        self.pieces = Pieces::new(keys.encode());
        self.wanted = next;
        self.piece(next)
    }

    /// The next piece of what is being said; with the last one the transit.
    fn piece(&mut self, next: Option<Stage>) -> (LoginRequest, Vec<u8>) {
        let (text, more) = self.pieces.next(LOGIN_SEGMENT);
        let request = LoginRequest {
            stage: self.stage,
            next: next.filter(|_| !more),
            goes_on: more,
            version_max: 0,
            version_min: 0,
            isid: self.options.isid,
            tsih: 0,
            tag: LOGIN_TAG,
            cid: CID,
            command: Command {
                immediate: true,
                number: FIRST_COMMAND,
                expected_status: self.next_status.unwrap_or_default(),
            },
        };
        (request, text)
    }
}

fn refusal(status: LoginStatus, text: &[u8]) -> LoginError {
    let permanently = status == LoginStatus::MOVED_PERMANENTLY;
    if !permanently && status != LoginStatus::MOVED_TEMPORARILY {
        return LoginError::Refused(status);
    }
    let keys = Keys::parse(text).unwrap_or_default();
    match keys.get("TargetAddress") {
        Some(address) => LoginError::Moved {
            address: address.to_owned(),
            permanently,
        },
        None => LoginError::Protocol("moved to nowhere"),
    }
}
