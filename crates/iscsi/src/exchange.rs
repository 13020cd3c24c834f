//! Text that takes several PDUs: the C bit (RFC 7143, "Text Mode Negotiation").

use crate::text::{KeyError, Keys, MAX_TEXT};

/// Text that is coming in.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    bytes: Vec<u8>,
}

impl Gathering {
    /// Takes the text of a PDU. `goes_on`: there is more, and an empty answer asks for it.
    pub(crate) fn take(&mut self, text: &[u8], goes_on: bool) -> Result<Option<Keys>, KeyError> {
        let whole = self.take_bytes(text, goes_on)?;
        whole.map(|bytes| Keys::parse(&bytes)).transpose()
    }

    /// The same, without a look at the text.
    pub(crate) fn take_bytes(
        &mut self,
        text: &[u8],
        goes_on: bool,
    ) -> Result<Option<Vec<u8>>, KeyError> {
        if self.bytes.len() + text.len() > MAX_TEXT {
            return Err(KeyError::TooLong);
        }
        self.bytes.extend_from_slice(text);
        Ok((!goes_on).then(|| std::mem::take(&mut self.bytes)))
    }
}

/// Text that is going out.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    rest: Vec<u8>,
}

impl Pieces {
    pub(crate) fn new(text: Vec<u8>) -> Self {
        Self { rest: text }
    }

    /// The next piece of at most `most` bytes, and whether there are more.
    pub(crate) fn next(&mut self, most: u32) -> (Vec<u8>, bool) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let later = self.rest.split_off(self.rest.len().min(most));
        let piece = std::mem::replace(&mut self.rest, later);
        (piece, !self.rest.is_empty())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
