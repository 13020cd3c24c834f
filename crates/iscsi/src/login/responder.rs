//! The target's side of the login.

use crate::exchange::{Gathering, Pieces};
use crate::login::chap::{Algorithm, Credentials, Question};
use crate::login::parameters::{NOT_UNDERSTOOD, REJECT, Responding, last_to_answer};
use crate::login::{
    Established, LOGIN_SEGMENT, LoginStatus, MAX_KEYS, MAX_PDUS, Wishes, is_name, value,
};
use crate::pdu::{Answer, Isid, LoginRequest, LoginResponse, Stage};
use crate::{Keys, Serial};

/// Who wants to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applicant<'a> {
    /// InitiatorName
    pub initiator: &'a str,
    /// TargetName; `None` for a discovery session.
    pub target: Option<&'a str>,
    /// Initiator session id.
    pub isid: Isid,
    /// Target session id: 0 for a new session, or one to take the place of an old one with the same names and ISID.
    pub tsih: u16,
}

/// How an initiator must prove who it is.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// Not at all.
    None,
    /// With CHAP.
    Chap {
        /// Any of these will do.
        accounts: Vec<Credentials>,
        /// What this target proves itself with, if it is asked to.
        own: Option<Credentials>,
    },
}

/// On what terms an applicant is let in.
#[derive(Debug, Clone)]
pub struct Admission {
    /// TargetPortalGroupTag
    pub portal_group: u16,
    /// Target session id of the session. Not 0.
    pub tsih: u16,
    /// How it must prove who it is.
    pub authentication: Authentication,
    /// How many commands it may send before the first one ends; at least 1.
    pub window: u32,
}

/// Who is known.
pub trait Directory {
    /// Lets an applicant in, before it has proved who it is; or says why not.
    ///
    /// # Errors
    /// The status that the login ends with. For an applicant with a `tsih` that is [`LoginStatus::NO_SESSION`] or
    /// [`LoginStatus::TOO_MANY_CONNECTIONS`]: a session has one connection.
    fn admit(&self, applicant: &Applicant<'_>) -> Result<Admission, LoginStatus>;
}

/// What comes after a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The next request.
    GoesOn,
    /// Full feature phase. If the same initiator port has a session with this target, that one ends now (RFC 7143,
    /// "Session Reinstatement").
    LoggedIn(Box<Established>),
    /// The connection is closed once the reply is sent.
    Refused(LoginStatus),
}

/// A reply to a login request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginReply {
    /// The PDU.
    pub response: LoginResponse,
    /// Its data segment.
    pub text: Vec<u8>,
    /// What comes after it.
    pub outcome: LoginOutcome,
}

/// How far authentication is.
#[derive(Debug)]
enum Proof {
    /// AuthMethod has not been agreed on.
    Open,
    /// AuthMethod=CHAP; CHAP_A is next.
    Chap,
    /// The challenge is out.
    Asked(Question),
    /// Done: with which name, if with any.
    Done(Option<String>),
}

/// What is known after the first request.
#[derive(Debug)]
struct Visit {
    initiator: String,
    target: Option<String>,
    admission: Admission,
    responding: Responding,
    proof: Proof,
}

/// What stays the same in all requests of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    isid: Isid,
    tsih: u16,
    cid: u16,
}

/// The target's side of the login on one connection. It is over after [`LoginOutcome::LoggedIn`] or
/// [`LoginOutcome::Refused`].
#[derive(Debug)]
pub struct LoginResponder {
    wishes: Wishes,
    identity: Option<Identity>,
    stage: Option<Stage>,
    requests: u32,
    keys: usize,
    gathering: Gathering,
    pieces: Pieces,
    visit: Option<Visit>,
    status_number: Serial,
}

impl LoginResponder {
    /// Waits for the first request. `wishes` is what this target is ready for.
    #[must_use]
    pub fn new(wishes: Wishes) -> Self {
        Self {
            wishes,
            identity: None,
            stage: None,
            requests: 0,
            keys: 0,
            gathering: Gathering::default(),
            pieces: Pieces::default(),
            visit: None,
            status_number: Serial(0),
        }
    }

    /// Answers a request with the text of its data segment. `random` fills bytes that nobody can guess.
    pub fn handle(
        &mut self,
        request: &LoginRequest,
        text: &[u8],
        directory: &dyn Directory,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> LoginReply {
        let reply = self.step(request, text, directory, random);
        let reply = reply.unwrap_or_else(|status| self.refuse(request, status));
        self.status_number = self.status_number.plus(1);
        reply
    }

    fn step(
        &mut self,
        request: &LoginRequest,
        text: &[u8],
        directory: &dyn Directory,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<LoginReply, LoginStatus> {
        self.check(request)?;
        if !self.pieces.is_empty() {
            // The rest of an answer; the request that asks for it is empty.
            return if text.is_empty() {
                self.reply(request)
            } else {
                Err(LoginStatus::INITIATOR_ERROR)
            };
        }
        let gathered = self.gathering.take(text, request.goes_on);
        let Some(keys) = gathered.map_err(|_| LoginStatus::INITIATOR_ERROR)? else {
            return Ok(self.compose(request, Vec::new(), None));
        };
        self.keys += keys.iter().count();
        if self.keys > MAX_KEYS {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        let mut answers = Keys::new();
        if self.visit.is_none() {
            self.visit = Some(self.welcome(request, &keys, directory, &mut answers)?);
        }
        self.answer(&keys, &mut answers, random)?;
        self.pieces = Pieces::new(answers.encode());
        self.reply(request)
    }

    /// What every request must keep to.
    fn check(&mut self, request: &LoginRequest) -> Result<(), LoginStatus> {
        self.requests += 1;
        let identity = Identity {
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
        };
        if request.version_min > 0 {
            return Err(LoginStatus::VERSION);
        }
        let same = *self.identity.get_or_insert(identity) == identity;
        let stage = *self.stage.get_or_insert(request.stage) == request.stage;
        let transit_amid_text = request.goes_on && request.next.is_some();
        if !same || !stage || transit_amid_text || self.requests > MAX_PDUS {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        if request.stage == Stage::FullFeature {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        Ok(())
    }

    /// The first request says who is there and to whom it wants.
    fn welcome(
        &self,
        request: &LoginRequest,
        keys: &Keys,
        directory: &dyn Directory,
        answers: &mut Keys,
    ) -> Result<Visit, LoginStatus> {
        let initiator = keys
            .get("InitiatorName")
            .ok_or(LoginStatus::MISSING_PARAMETER)?;
        if !is_name(initiator) {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        let discovery = match keys.get("SessionType") {
            None | Some("Normal") => false,
            Some("Discovery") => true,
            Some(_) => return Err(LoginStatus::SESSION_TYPE),
        };
        let target = match keys.get("TargetName") {
            _ if discovery => None,
            None => return Err(LoginStatus::MISSING_PARAMETER),
            Some(name) => Some(name),
        };
        let admission = directory.admit(&Applicant {
            initiator,
            target,
            isid: request.isid,
            tsih: request.tsih,
        })?;
        let free = matches!(admission.authentication, Authentication::None);
        if request.stage == Stage::Operational && !free {
            return Err(LoginStatus::AUTHENTICATION);
        }
        if !discovery {
            answers.push("TargetPortalGroupTag", admission.portal_group);
        }
        Ok(Visit {
            initiator: initiator.to_owned(),
            target: target.map(str::to_owned),
            responding: Responding::new(self.wishes, discovery),
            admission,
            proof: if free { Proof::Done(None) } else { Proof::Open },
        })
    }

    /// Answers all keys of a request.
    fn answer(
        &mut self,
        keys: &Keys,
        answers: &mut Keys,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), LoginStatus> {
        let stage = self.stage;
        let visit = self.visit.as_mut().ok_or(LoginStatus::TARGET_ERROR)?;
        if stage == Some(Stage::Security) {
            visit.authenticate(keys, answers, random)?;
        }
        let (late, soon): (Vec<_>, Vec<_>) = keys.iter().partition(|(key, _)| last_to_answer(key));
        for (key, value) in soon.into_iter().chain(late) {
            match key {
                // Said, and known: no answer.
                "InitiatorName" | "InitiatorAlias" | "TargetName" | "SessionType" => {}
                // Answers to what this side declared, should any come.
                "TargetPortalGroupTag" | "TargetAlias" | "TargetAddress" => {
                    answers.push(key, REJECT);
                }
                "AuthMethod" | "CHAP_A" | "CHAP_N" | "CHAP_R" | "CHAP_I" | "CHAP_C" => {
                    if stage != Some(Stage::Security) {
                        answers.push(key, REJECT);
                    }
                }
                _ => match visit.responding.answer(key, value) {
                    Some(answer) => answers.push(key, answer),
                    None if key == "MaxRecvDataSegmentLength" => {}
                    None => answers.push(key, NOT_UNDERSTOOD),
                },
            }
        }
        if stage == Some(Stage::Operational) {
            visit.responding.declare(answers);
        }
        Ok(())
    }

    /// The next piece of the answer, and if it is the last one the transit that was asked for.
    fn reply(&mut self, request: &LoginRequest) -> Result<LoginReply, LoginStatus> {
        let (text, more) = self.pieces.next(LOGIN_SEGMENT);
        let visit = self.visit.as_ref().ok_or(LoginStatus::TARGET_ERROR)?;
        let proved = matches!(visit.proof, Proof::Done(_));
        let next = request.next.filter(|_| proved && !more);
        if next == Some(Stage::FullFeature) {
            let established = self.establish(request, visit)?;
            let mut reply = self.compose(request, text, next);
            reply.response.tsih = visit.admission.tsih;
            reply.outcome = LoginOutcome::LoggedIn(Box::new(established));
            return Ok(reply);
        }
        let mut reply = self.compose(request, text, next);
        reply.response.goes_on = more;
        self.stage = next.or(self.stage);
        Ok(reply)
    }

    fn establish(&self, request: &LoginRequest, visit: &Visit) -> Result<Established, LoginStatus> {
        let agreed = visit.responding.finish();
        let Proof::Done(authenticated) = &visit.proof else {
            return Err(LoginStatus::AUTHENTICATION);
        };
        let answer = self.numbers(request);
        Ok(Established {
            initiator: visit.initiator.clone(),
            target: visit.target.clone(),
            isid: request.isid,
            tsih: visit.admission.tsih,
            cid: request.cid,
            portal_group: Some(visit.admission.portal_group),
            authenticated: authenticated.clone(),
            parameters: agreed.map_err(|_| LoginStatus::INITIATOR_ERROR)?,
            next_command: answer.expected_command,
            last_command: answer.last_command,
            next_status: self.status_number.plus(1),
        })
    }

    fn numbers(&self, request: &LoginRequest) -> Answer {
        let window = self
            .visit
            .as_ref()
            .map_or(1, |visit| visit.admission.window);
        Answer {
            status_number: self.status_number,
            expected_command: request.command.number,
            last_command: request.command.number.plus(window.max(1) - 1),
        }
    }

    fn compose(&self, request: &LoginRequest, text: Vec<u8>, next: Option<Stage>) -> LoginReply {
        LoginReply {
            response: LoginResponse {
                stage: request.stage,
                next,
                goes_on: false,
                version_max: 0,
                version: 0,
                isid: request.isid,
                tsih: request.tsih,
                tag: request.tag,
                answer: self.numbers(request),
                status: LoginStatus::SUCCESS.0,
            },
            text,
            outcome: LoginOutcome::GoesOn,
        }
    }

    fn refuse(&self, request: &LoginRequest, status: LoginStatus) -> LoginReply {
        let mut reply = self.compose(request, Vec::new(), None);
        reply.response.status = status.0;
        reply.outcome = LoginOutcome::Refused(status);
        reply
    }
}

impl Visit {
    /// One step of the security negotiation.
    fn authenticate(
        &mut self,
        keys: &Keys,
        answers: &mut Keys,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), LoginStatus> {
        if let Some(methods) = keys.get("AuthMethod") {
            self.choose_method(methods, answers)?;
        }
        let failed = LoginStatus::AUTHENTICATION;
        match &self.proof {
            Proof::Chap if keys.get("CHAP_A").is_some() => {
                let list = keys.get("CHAP_A").unwrap_or_default();
                let algorithm = Algorithm::choose(list).ok_or(failed)?;
                let question = Question::ask(algorithm, random);
                answers.push("CHAP_A", algorithm.code());
                answers.push("CHAP_I", question.identifier);
                answers.push("CHAP_C", value::encode(&question.challenge));
                self.proof = Proof::Asked(question);
            }
            Proof::Asked(question) => {
                let name = self.verify(question, keys, answers)?;
                self.proof = Proof::Done(Some(name));
            }
            Proof::Open | Proof::Chap | Proof::Done(_) => {}
        }
        Ok(())
    }

    fn choose_method(&mut self, methods: &str, answers: &mut Keys) -> Result<(), LoginStatus> {
        let offers = |wanted: &str| methods.split(',').any(|method| method == wanted);
        match (&self.admission.authentication, &self.proof) {
            (Authentication::None, _) if offers("None") => answers.push("AuthMethod", "None"),
            (Authentication::Chap { .. }, Proof::Open) if offers("CHAP") => {
                answers.push("AuthMethod", "CHAP");
                self.proof = Proof::Chap;
            }
            _ => return Err(LoginStatus::AUTHENTICATION),
        }
        Ok(())
    }

    /// The answer to the challenge: by which name. And if the initiator asks back, this side's own proof.
    fn verify(
        &self,
        question: &Question,
        keys: &Keys,
        answers: &mut Keys,
    ) -> Result<String, LoginStatus> {
        let failed = LoginStatus::AUTHENTICATION;
        let Authentication::Chap { accounts, own } = &self.admission.authentication else {
            return Err(failed);
        };
        let name = keys.get("CHAP_N").ok_or(failed)?;
        let response = keys.get("CHAP_R").and_then(value::decode).ok_or(failed)?;
        let account = accounts
            .iter()
            .find(|account| account.name == name && question.answered(&account.secret, &response))
            .ok_or(failed)?;
        let (identifier, challenge) = match (keys.get("CHAP_I"), keys.get("CHAP_C")) {
            (None, None) => return Ok(name.to_owned()),
            (Some(identifier), Some(challenge)) => (identifier, challenge),
            _ => return Err(failed),
        };
        let identifier = value::number(identifier)
            .and_then(|identifier| u8::try_from(identifier).ok())
            .ok_or(failed)?;
        let challenge = value::decode(challenge).ok_or(failed)?;
        let own = own.as_ref().ok_or(failed)?;
        // A challenge thrown back, or one secret for both ways, would let us answer our own question.
        if challenge == question.challenge || own.secret.same(&account.secret) {
            return Err(failed);
        }
        let proof = question
            .algorithm
            .response(identifier, &own.secret, &challenge);
        answers.push("CHAP_N", &own.name);
        answers.push("CHAP_R", value::encode(&proof));
        Ok(name.to_owned())
    }
}
