//! WS-Management (DSP0226, MS-WSMV).
