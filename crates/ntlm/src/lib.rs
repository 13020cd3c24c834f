//! NTLMv2 (MS-NLMP).
