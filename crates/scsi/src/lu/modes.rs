//! The mode pages of a logical unit: MODE SENSE and MODE SELECT (SPC-4, those clauses).
//!
//! All nexuses share them (TST = 000b), and they are not kept over power off. Four bits can be changed; everything else
//! in a MODE SELECT must be as it is.

use crate::bytes::Truncated;
use crate::command::PageControl;
use crate::mode::{
    ALL_PAGES, ALL_SUBPAGES, BlockDescriptor, CACHING, CONTROL, DESCRIPTOR_SENSE, ERROR_RECOVERY,
    EXCEPTIONS, ModeError, Page, Parameters, SOFTWARE_WRITE_PROTECT, TASK_ABORTED_STATUS,
    WRITE_CACHE,
};
use crate::{AdditionalSense, Sense};

const INVALID_CDB: Sense = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
const INVALID_LIST: Sense = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);

/// The bits that can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modes {
    /// WCE
    pub(super) write_cache: bool,
    /// SWP
    pub(super) write_protect: bool,
    /// D_SENSE
    pub(super) descriptor_sense: bool,
    /// TAS
    pub(super) task_aborted_status: bool,
}

impl Modes {
    /// Those after power on.
    pub(super) const fn initial(write_cache: bool) -> Self {
        Self {
            write_cache,
            write_protect: false,
            descriptor_sense: false,
            task_aborted_status: false,
        }
    }

    const fn all(set: bool) -> Self {
        Self {
            write_cache: set,
            write_protect: set,
            descriptor_sense: set,
            task_aborted_status: set,
        }
    }

    /// The pages with these bits.
    fn pages(self) -> [Page; 4] {
        let mut recovery = page(ERROR_RECOVERY, 0x0A);
        // AWRE and ARRE: whatever lies below repairs by itself.
        recovery.body[0] = 0xC0;
        let mut caching = page(CACHING, 0x12);
        set(&mut caching, WRITE_CACHE, self.write_cache);
        let mut control = page(CONTROL, 0x0A);
        set(&mut control, DESCRIPTOR_SENSE, self.descriptor_sense);
        set(&mut control, SOFTWARE_WRITE_PROTECT, self.write_protect);
        set(&mut control, TASK_ABORTED_STATUS, self.task_aborted_status);
        // QUEUE ALGORITHM MODIFIER 1: commands may be reordered without restriction.
        control.body[1] = 0x10;
        let mut exceptions = page(EXCEPTIONS, 0x0A);
        // DEXCPT: none are reported.
        exceptions.body[0] = 0x08;
        [recovery, caching, control, exceptions]
    }

    /// The mask of what can be changed: where the pages differ when everything does.
    fn changeable() -> [Page; 4] {
        let (mut masks, off) = (Self::all(true).pages(), Self::all(false).pages());
        for (mask, off) in masks.iter_mut().zip(off) {
            for (bits, off) in mask.body.iter_mut().zip(off.body) {
                *bits ^= off;
            }
        }
        masks
    }

    /// The pages that MODE SENSE asks for.
    pub(super) fn sense(
        self,
        initial: Self,
        control: PageControl,
        (code, subpage): (u8, u8),
    ) -> Result<Vec<Page>, Sense> {
        let pages = match control {
            PageControl::Current => self.pages(),
            PageControl::Changeable => Self::changeable(),
            PageControl::Default => initial.pages(),
            PageControl::Saved => {
                let what = AdditionalSense::SAVING_PARAMETERS_NOT_SUPPORTED;
                return Err(Sense::illegal(what));
            }
        };
        // There are no subpages, but asking for all of them is no error.
        if subpage != 0 && subpage != ALL_SUBPAGES {
            return Err(INVALID_CDB);
        }
        let wanted = |page: &Page| code == ALL_PAGES || page.code == code;
        let pages: Vec<_> = pages.into_iter().filter(wanted).collect();
        if pages.is_empty() {
            return Err(INVALID_CDB);
        }
        Ok(pages)
    }

    /// What a MODE SELECT makes of them.
    pub(super) fn select(
        self,
        long: bool,
        list: &[u8],
        medium: BlockDescriptor,
    ) -> Result<Self, Sense> {
        let parameters = Parameters::parse_select(long, list).map_err(|error| match error {
            ModeError::Truncated(Truncated { .. }) => {
                Sense::illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR)
            }
            ModeError::Descriptors(_) => INVALID_LIST,
        })?;
        if let Some(given) = parameters.descriptor {
            // 0 stands for what it is, in both fields.
            let same_length = [0, medium.block_length].contains(&given.block_length);
            if !same_length || ![0, u32::MAX, medium.blocks].contains(&given.blocks) {
                return Err(INVALID_LIST);
            }
        }
        let mut next = self;
        for page in &parameters.pages {
            next = next.with(page)?;
        }
        Ok(next)
    }

    fn with(self, page: &Page) -> Result<Self, Sense> {
        let at = |known: &Page| known.code == page.code && page.subpage.is_none();
        let current = self.pages().into_iter().find(at).ok_or(INVALID_LIST)?;
        let mask = Self::changeable()
            .into_iter()
            .find(at)
            .ok_or(INVALID_LIST)?;
        if page.body.len() != current.body.len() {
            return Err(INVALID_LIST);
        }
        let fixed = |((new, old), mask): ((&u8, &u8), &u8)| (new ^ old) & !mask == 0;
        let bodies = page.body.iter().zip(&current.body).zip(&mask.body);
        if !bodies.into_iter().all(fixed) {
            return Err(INVALID_LIST);
        }
        let mut next = self;
        match page.code {
            CACHING => next.write_cache = page.bit(WRITE_CACHE),
            CONTROL => {
                next.write_protect = page.bit(SOFTWARE_WRITE_PROTECT);
                next.descriptor_sense = page.bit(DESCRIPTOR_SENSE);
                next.task_aborted_status = page.bit(TASK_ABORTED_STATUS);
            }
            _ => {}
        }
        Ok(next)
    }
}

fn page(code: u8, length: usize) -> Page {
    Page {
        code,
        subpage: None,
        saveable: false,
        body: vec![0; length],
    }
}

/// Sets a bit of a page without subpage; places count from the page code.
fn set(page: &mut Page, (at, mask): (usize, u8), on: bool) {
    if let Some(byte) = page.body.get_mut(at - 2).filter(|_| on) {
        *byte |= mask;
    }
}
