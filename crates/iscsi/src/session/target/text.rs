//! Text in full feature phase (RFC 7143, "Text Request" and "SendTargets Operation").

use crate::exchange::{Gathering, Pieces};
use crate::pdu::{Answer, FromTarget, TextRequest, TextResponse};
use crate::session::SessionError;
use crate::session::target::{TargetConnection, TargetEvent};
use crate::{Keys, Tag};

/// Which targets are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// Every one that this initiator may see.
    All,
    /// One.
    Target(String),
}

/// A target and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPortal {
    /// TargetName
    pub target: String,
    /// Each TargetAddress: `host:port,group`, an IPv6 address in brackets.
    pub addresses: Vec<String>,
}

/// A text negotiation. There is one at a time.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    gathering: Gathering,
    pieces: Pieces,
    /// What the initiator must repeat to go on.
    target_tag: Option<Tag>,
    /// The request that [`TargetEvent::Discover`] waits for.
    asked: Option<TextRequest>,
    /// Answers that go with it.
    answers: Keys,
}

impl TargetConnection {
    pub(super) fn text(&mut self, request: &TextRequest, text: &[u8]) -> Result<(), SessionError> {
        let goes_on = request.target_tag != Tag::NONE;
        if !goes_on {
            // A new negotiation takes the place of an unfinished one.
            self.exchange = Exchange::default();
        } else if self.exchange.target_tag != Some(request.target_tag) {
            return Err(SessionError::OutOfPlace);
        }
        if goes_on && !self.exchange.pieces.is_empty() {
            self.send_piece(request);
            return Ok(());
        }
        let Some(keys) = self.exchange.gathering.take(text, request.goes_on)? else {
            self.send_piece(request);
            return Ok(());
        };
        let mut answers = Keys::new();
        let mut wanted = None;
        for (key, value) in keys.iter() {
            match key {
                "SendTargets" => wanted = Some(self.discovery(value)),
                "MaxRecvDataSegmentLength" => match value.parse() {
                    Ok(most @ 512..0x0100_0000) => self.session.parameters.max_send = most,
                    _ => answers.push(key, "Reject"),
                },
                "InitiatorAlias" => {}
                _ => answers.push(key, "NotUnderstood"),
            }
        }
        match wanted {
            Some(Some(wanted)) => {
                self.exchange.answers = answers;
                self.exchange.asked = Some(*request);
                self.events.push_back(TargetEvent::Discover(wanted));
            }
            Some(None) => {
                answers.push("SendTargets", "Reject");
                self.say(request, &answers);
            }
            None => self.say(request, &answers),
        }
        Ok(())
    }

    /// What is looked for: an empty name stands for the session's own target.
    fn discovery(&self, value: &str) -> Option<Discovery> {
        match (value, &self.session.target) {
            ("All", None) => Some(Discovery::All),
            ("", Some(own)) => Some(Discovery::Target(own.clone())),
            ("" | "All", _) => None,
            (name, _) => Some(Discovery::Target(name.to_owned())),
        }
    }

    /// Answers [`TargetEvent::Discover`]. Names and addresses are told in this order.
    pub fn found(&mut self, targets: &[TargetPortal]) {
        let Some(request) = self.exchange.asked.take() else {
            // The initiator has begun anew.
            return;
        };
        let mut text = std::mem::take(&mut self.exchange.answers).encode();
        for portal in targets {
            // The same keys for each target: not a list of different ones.
            let mut keys = Keys::new();
            keys.push("TargetName", &portal.target);
            for address in &portal.addresses {
                keys.push("TargetAddress", address);
            }
            text.extend(keys.encode());
        }
        self.exchange.pieces = Pieces::new(text);
        self.send_piece(&request);
    }

    fn say(&mut self, request: &TextRequest, keys: &Keys) {
        self.exchange.pieces = Pieces::new(keys.encode());
        self.send_piece(request);
    }

    /// The next piece of the answer; an empty one asks for more text.
    fn send_piece(&mut self, request: &TextRequest) {
        let (text, more) = self.exchange.pieces.next(self.session.parameters.max_send);
        let target_tag = if more || request.goes_on {
            let tag = self.transfer_tags.next();
            self.exchange.target_tag = Some(tag);
            tag
        } else {
            self.exchange.target_tag = None;
            Tag::NONE
        };
        let response = TextResponse {
            last: request.last && target_tag == Tag::NONE,
            goes_on: more,
            tag: request.tag,
            target_tag,
            answer: Answer::default(),
        };
        self.send_with(FromTarget::Text(response), text);
    }
}
