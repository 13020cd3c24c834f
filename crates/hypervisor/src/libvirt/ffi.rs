//! The few things libvirt offers that the `virt` crate does not, and all unsafe code of this crate.
//!
//! Callbacks come on the event thread. They only note what happened and return; they call nothing in
//! libvirt that could wait.

use std::ffi::{CStr, c_int, c_void};
use std::mem::ManuallyDrop;
use std::sync::Once;
use std::thread;
use std::{ptr, slice};

use virt::connect::Connect;
use virt::domain::Domain;
use virt::{error, event, sys};

use crate::{Guest, GuestState};

/// Starts libvirt's event loop on a thread of its own, once per process, and keeps the library from
/// printing errors. It has to precede the first connection.
pub(super) fn initialize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        error::clear_error_callback();
        if let Err(error) = event::event_register_default_impl() {
            tracing::warn!(%error, "libvirt has no event loop: no events, no keep-alive");
            return;
        }
        let looped = thread::Builder::new()
            .name("libvirt-events".to_owned())
            .spawn(|| {
                // The loop blocks until something happens. An error is one of poll(2), and would come
                // again at once: without the pause it would take a whole core.
                loop {
                    if let Err(error) = event::event_run_default_impl() {
                        tracing::warn!(%error, "libvirt's event loop");
                        thread::sleep(std::time::Duration::from_millis(100));
                    }
                }
            });
        if let Err(error) = looped {
            tracing::warn!(%error, "no thread for libvirt's event loop");
        }
    });
}

/// What the callbacks of one connection are told.
pub(super) trait Listener: Send + Sync + 'static {
    /// A lifecycle event of `virDomainEventType` `event` with its detail.
    fn lifecycle(&self, guest: Guest, event: c_int, detail: c_int);
    /// The connection is closed, for a reason of `virConnectCloseReason`.
    fn closed(&self, reason: c_int);
}

type Opaque = Box<dyn Listener>;

/// Asks for lifecycle events of all guests; the number to end it with.
pub(super) fn watch_lifecycle(connect: &Connect, listener: Opaque) -> Result<c_int, error::Error> {
    type Lifecycle = unsafe extern "C" fn(
        sys::virConnectPtr,
        sys::virDomainPtr,
        c_int,
        c_int,
        *mut c_void,
    ) -> c_int;
    type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
    let opaque = into_opaque(listener);
    // SAFETY: libvirt takes every kind of domain event callback through this one type and calls it
    // with the signature that belongs to the event id; for LIFECYCLE that is `Lifecycle`.
    let callback = unsafe { std::mem::transmute::<Lifecycle, Generic>(on_lifecycle) };
    // SAFETY: the connection is open, a null domain means all domains, and `opaque` stays valid until
    // libvirt calls `free_opaque` on it, which is after the last callback.
    let id = unsafe {
        sys::virConnectDomainEventRegisterAny(
            connect.as_ptr(),
            ptr::null_mut(),
            sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE.cast_signed(),
            Some(callback),
            opaque,
            Some(free_opaque),
        )
    };
    if id < 0 {
        let error = error::Error::last_error();
        // SAFETY: libvirt took no ownership of `opaque`, as it refused the registration.
        unsafe { free_opaque(opaque) };
        return Err(error);
    }
    Ok(id)
}

/// Ends what [`watch_lifecycle`] began. May wait for the daemon.
pub(super) fn unwatch_lifecycle(connect: &Connect, id: c_int) {
    // SAFETY: the connection is open and `id` came from it.
    unsafe { sys::virConnectDomainEventDeregisterAny(connect.as_ptr(), id) };
}

/// Asks to be told when the connection is closed by anybody but us. Drivers inside this process
/// refuse, as they have nothing to lose.
pub(super) fn watch_close(connect: &Connect, listener: Opaque) -> Result<(), error::Error> {
    let opaque = into_opaque(listener);
    // SAFETY: as in `watch_lifecycle`.
    let result = unsafe {
        sys::virConnectRegisterCloseCallback(
            connect.as_ptr(),
            Some(on_close),
            opaque,
            Some(free_opaque),
        )
    };
    if result < 0 {
        let error = error::Error::last_error();
        // SAFETY: as in `watch_lifecycle`.
        unsafe { free_opaque(opaque) };
        return Err(error);
    }
    Ok(())
}

/// Ends what [`watch_close`] began.
pub(super) fn unwatch_close(connect: &Connect) {
    // SAFETY: the connection is open and the callback was registered with it.
    unsafe { sys::virConnectUnregisterCloseCallback(connect.as_ptr(), Some(on_close)) };
}

/// One guest of [`states`].
#[derive(Debug)]
pub(super) struct Row {
    pub(super) guest: Guest,
    pub(super) state: GuestState,
    pub(super) reason: c_int,
    pub(super) active: bool,
}

/// The states of all guests in one round trip.
pub(super) fn states(connect: &Connect) -> Result<Vec<Row>, error::Error> {
    let mut records: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
    // SAFETY: the connection is open and `records` is a valid place for the result.
    let count = unsafe {
        sys::virConnectGetAllDomainStats(
            connect.as_ptr(),
            sys::VIR_DOMAIN_STATS_STATE,
            &raw mut records,
            0,
        )
    };
    let Ok(count) = usize::try_from(count) else {
        return Err(error::Error::last_error());
    };
    let mut rows = Vec::with_capacity(count);
    for at in 0..count {
        // SAFETY: libvirt returned `count` records, each a valid pointer until the list is freed.
        let record = unsafe { &**records.add(at) };
        rows.extend(row(record));
    }
    // SAFETY: the list came from libvirt, is freed once and not used afterwards.
    unsafe { sys::virDomainStatsRecordListFree(records) };
    Ok(rows)
}

fn row(record: &sys::virDomainStatsRecord) -> Option<Row> {
    // SAFETY: the record holds a domain for as long as the list lives, and we drop no reference.
    let domain = ManuallyDrop::new(unsafe { Domain::from_ptr(record.dom) });
    let count = usize::try_from(record.nparams).ok()?;
    let parameters = if count == 0 || record.params.is_null() {
        &[]
    } else {
        // SAFETY: libvirt promises `nparams` parameters at `params` for as long as the list lives.
        unsafe { slice::from_raw_parts(record.params, count) }
    };
    // A guest without a state in the answer keeps an unknown one: it must not disappear.
    let state = parameter(parameters, sys::VIR_DOMAIN_STATS_STATE_STATE).unwrap_or(-1);
    let reason = parameter(parameters, sys::VIR_DOMAIN_STATS_STATE_REASON).unwrap_or(0);
    Some(Row {
        guest: identity(&domain)?,
        state: GuestState::from_code(state),
        reason,
        active: domain.get_id().is_some(),
    })
}

/// The value of the integer parameter called `name`.
fn parameter(parameters: &[sys::virTypedParameter], name: &CStr) -> Option<c_int> {
    let wanted = name.to_bytes_with_nul();
    let found = parameters.iter().find(|parameter| {
        let field = parameter.field.iter().zip(wanted);
        field.clone().count() == wanted.len() && field.into_iter().all(|(a, b)| *a as u8 == *b)
    })?;
    if found.type_ != sys::VIR_TYPED_PARAM_INT.cast_signed() {
        return None;
    }
    // SAFETY: the type tag says that the union holds an int.
    Some(unsafe { found.value.i })
}

/// What is being done to a guest at the moment (`virDomainJobOperation`); none if nothing that libvirt counts
/// as a job.
pub(super) fn job(domain: &Domain) -> Result<Option<sys::virDomainJobOperation>, error::Error> {
    let mut kind: c_int = 0;
    let mut count: c_int = 0;
    let mut parameters: sys::virTypedParameterPtr = ptr::null_mut();
    // SAFETY: the domain is valid, and all three are valid places for the result.
    let result = unsafe {
        sys::virDomainGetJobStats(
            domain.as_ptr(),
            &raw mut kind,
            &raw mut parameters,
            &raw mut count,
            0,
        )
    };
    if result < 0 {
        return Err(error::Error::last_error());
    }
    let length = usize::try_from(count).unwrap_or(0);
    let list = if length == 0 || parameters.is_null() {
        &[]
    } else {
        // SAFETY: libvirt allocated `count` parameters there, which stay until they are freed below.
        unsafe { slice::from_raw_parts(parameters, length) }
    };
    let operation = parameter(list, sys::VIR_DOMAIN_JOB_OPERATION);
    if !parameters.is_null() {
        // SAFETY: the list came from libvirt, is freed once and not used afterwards.
        unsafe { sys::virTypedParamsFree(parameters, count) };
    }
    let none = sys::VIR_DOMAIN_JOB_NONE.cast_signed();
    let unknown = sys::VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    let operation = operation.and_then(|number| u32::try_from(number).ok());
    Ok((kind != none).then(|| operation.unwrap_or(unknown)))
}

/// Ends what is being done to a guest, a migration say.
pub(super) fn abort_job(domain: &Domain) -> Result<(), error::Error> {
    // SAFETY: the domain is valid.
    if unsafe { sys::virDomainAbortJob(domain.as_ptr()) } < 0 {
        return Err(error::Error::last_error());
    }
    Ok(())
}

/// Both names of a guest; libvirt keeps them in the handle, so this never waits.
pub(super) fn identity(domain: &Domain) -> Option<Guest> {
    let name = domain.get_name().ok()?;
    Some(Guest {
        name,
        uuid: domain.get_uuid().ok()?,
    })
}

fn into_opaque(listener: Opaque) -> *mut c_void {
    // Boxed twice, because a pointer to a trait object does not fit into one `void *`.
    Box::into_raw(Box::new(listener)).cast()
}

/// # Safety
/// `opaque` must come from [`into_opaque`] and must not be used afterwards.
unsafe extern "C" fn free_opaque(opaque: *mut c_void) {
    // SAFETY: promised by the caller.
    drop(unsafe { Box::from_raw(opaque.cast::<Opaque>()) });
}

/// # Safety
/// `domain` must be a valid domain, `opaque` must come from [`into_opaque`] and not be freed.
unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: libvirt lends the domain for the duration of the callback; no reference is dropped.
    let domain = ManuallyDrop::new(unsafe { Domain::from_ptr(domain) });
    // SAFETY: promised by the caller.
    let listener = unsafe { &*opaque.cast::<Opaque>() };
    if let Some(guest) = identity(&domain) {
        listener.lifecycle(guest, event, detail);
    }
    0
}

/// # Safety
/// `opaque` must come from [`into_opaque`] and not be freed.
unsafe extern "C" fn on_close(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    // SAFETY: promised by the caller.
    let listener = unsafe { &*opaque.cast::<Opaque>() };
    listener.closed(reason);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(name: &CStr, value: c_int) -> sys::virTypedParameter {
        let mut field = [0; 80];
        for (to, from) in field.iter_mut().zip(name.to_bytes()) {
            *to = i8::try_from(*from).unwrap() as std::ffi::c_char;
        }
        let value = sys::_virTypedParameter__bindgen_ty_1 { i: value };
        sys::virTypedParameter {
            field,
            type_: sys::VIR_TYPED_PARAM_INT.cast_signed(),
            value,
        }
    }

    #[test]
    fn parameters_are_found_by_their_whole_name_and_type() {
        let mut unsigned = integer(c"state.reason", 9);
        unsigned.type_ = sys::VIR_TYPED_PARAM_UINT.cast_signed();
        let list = [
            integer(c"state.state.more", 1),
            integer(c"state.state", 5),
            unsigned,
        ];
        assert_eq!(parameter(&list, c"state.state"), Some(5));
        assert_eq!(parameter(&list, c"state"), None);
        assert_eq!(parameter(&list, c"state.reason"), None);
        assert_eq!(parameter(&[], c"state.state"), None);
    }

    #[test]
    fn the_test_driver_answers_all_states_at_once() {
        initialize();
        let mut connect = Connect::open(Some("test:///default")).unwrap();
        let rows = states(&connect).unwrap();
        assert!(rows.iter().any(|row| row.guest.name == "test"));
        connect.close().unwrap();
    }
}
