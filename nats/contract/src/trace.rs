//! W3C trace context: one id follows a payment from the HTTP call through both services and back.

/// A valid `traceparent` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// A new trace.
    #[must_use]
    pub fn generate() -> Self {
        todo!()
    }
    /// Accepts only `00-<32 hex>-<16 hex>-<2 hex>` with non-zero ids.
    #[must_use]
    pub fn parse(_text: &str) -> Option<Self> {
        todo!()
    }
    /// Same trace, new span: what goes on the next hop.
    #[must_use]
    pub fn child(&self) -> Self {
        todo!()
    }
    /// The header value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The 32 hex digits that logs carry as `trace_id`.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        todo!()
    }
}
