//! The request as plugins see it: its head, its normalised path, and room for per-request state.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// What the route speaks to its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1 to the upstream.
    #[default]
    Http,
    /// gRPC over HTTP/2.
    Grpc,
}

/// The route that was matched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteInfo {
    /// The key of the route in the store, without the data prefix and `routes/`.
    pub key: String,
    /// The route's path pattern.
    pub prefix: String,
    /// The service the route names; empty when it names none.
    pub service: String,
    /// The protocol towards the upstream.
    pub protocol: Protocol,
}

/// The head of a request: the client's in [`RequestCtx`], or the one about to go upstream.
pub trait RequestHead: Send + Sync {
    /// The method.
    fn method(&self) -> &Method;
    /// All headers.
    fn headers(&self) -> &HeaderMap;
    /// Sets a header, replacing every value of that name.
    fn insert_header(&mut self, name: HeaderName, value: HeaderValue);
    /// Adds a value beside those the header has.
    fn append_header(&mut self, name: HeaderName, value: HeaderValue);
    /// Removes a header and returns its first value.
    fn remove_header(&mut self, name: &HeaderName) -> Option<HeaderValue>;
}

/// The head of a response on its way to the client.
pub trait ResponseHead: Send + Sync {
    /// The status.
    fn status(&self) -> StatusCode;
    /// Replaces the status.
    fn set_status(&mut self, status: StatusCode);
    /// All headers.
    fn headers(&self) -> &HeaderMap;
    /// Sets a header, replacing every value of that name.
    fn insert_header(&mut self, name: HeaderName, value: HeaderValue);
    /// Adds a value beside those the header has.
    fn append_header(&mut self, name: HeaderName, value: HeaderValue);
    /// Removes a header and returns its first value.
    fn remove_header(&mut self, name: &HeaderName) -> Option<HeaderValue>;
}

/// What is known of a client's TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsInfo {
    /// The version, such as `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by OpenSSL's name.
    pub cipher: &'static str,
    /// The server name (SNI) the client asked for, in lower case.
    pub server_name: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The client's certificate, when it showed one. It was verified.
    pub client_certificate: Option<ClientCertificate>,
}

/// A client's certificate, verified against the CAs that are configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCertificate {
    /// Whom it names, such as `CN=billing,O=Example`.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// The DNS names in it.
    pub dns_names: Vec<String>,
    /// The email addresses in it.
    pub email_addresses: Vec<String>,
    /// The URIs in it, such as `spiffe://example.org/billing`.
    pub uris: Vec<String>,
    /// SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
}

/// What the gateway knows of a request beside its head. It lives from the first phase to the last.
#[derive(Debug)]
pub struct RequestState {
    /// The matched route.
    pub route: Arc<RouteInfo>,
    /// The client's address: the peer's, or the one a trusted proxy vouches for.
    pub client_ip: IpAddr,
    /// When the request's header was complete.
    pub started: Instant,
    /// Set by the plugin that gives a request its id; written to the access log.
    pub trace_id: Option<HeaderValue>,
    /// The client's TLS; `None` in clear text.
    pub tls: Option<Arc<TlsInfo>>,
    path: String,
    query: Option<String>,
    path_changed: bool,
    is_preview: bool,
    extensions: Option<Box<Extensions>>,
}

impl RequestState {
    /// The state of a new request. `path` is the normalised path that was matched.
    pub fn new(route: Arc<RouteInfo>, client_ip: IpAddr, path: String, query: Option<String>) -> Self {
        Self {
            route,
            client_ip,
            started: Instant::now(),
            trace_id: None,
            tls: None,
            path,
            query,
            path_changed: false,
            is_preview: false,
            extensions: None,
        }
    }

    /// The same for a request that is only explained.
    #[must_use]
    pub fn for_preview(self) -> Self {
        Self { is_preview: true, ..self }
    }

    /// Whether this request is only explained: an operator asks what would become of it, and nobody
    /// is served. Hooks decide as ever and change nothing that outlives the request: a limiter looks
    /// and does not take, a counter stands still, nothing is written to the store.
    pub fn is_preview(&self) -> bool {
        self.is_preview
    }

    /// Whether the client came by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The server name (SNI) the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.tls.as_ref()?.server_name.as_deref()
    }

    /// The client's certificate, verified; `None` when it showed none.
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.tls.as_ref()?.client_certificate.as_ref()
    }

    /// The normalised path: decoded but for reserved characters, dot segments resolved.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query string without its `?`, as the client sent it.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Replaces the path the upstream will see. It need not be percent-encoded.
    pub fn set_path(&mut self, path: impl Into<String>) {
        self.path = path.into();
        self.path_changed = true;
    }

    /// Replaces the query string, without `?`.
    pub fn set_query(&mut self, query: Option<String>) {
        self.query = query;
        self.path_changed = true;
    }

    /// Whether a plugin has replaced path or query.
    pub fn path_changed(&self) -> bool {
        self.path_changed
    }

    /// Keeps a value of type `T` with the request, for a later phase or another plugin.
    pub fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> Option<T> {
        self.extensions.get_or_insert_default().insert(value)
    }

    /// The value of type `T` that was kept with the request.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.extensions.as_ref()?.get()
    }

    /// The value of type `T` that was kept with the request, to change it.
    pub fn get_mut<T: Send + Sync + 'static>(&mut self) -> Option<&mut T> {
        self.extensions.as_mut()?.get_mut()
    }
}

/// A request in a hook: the client's head, and the gateway's state of the request.
///
/// A header changed here is what later plugins see and what goes upstream.
pub struct RequestCtx<'a> {
    /// The client's request head.
    pub head: &'a mut dyn RequestHead,
    /// Everything else about the request.
    pub state: &'a mut RequestState,
}

impl<'a> RequestCtx<'a> {
    /// Joins a head and a state for one call of the hooks.
    pub fn new(head: &'a mut dyn RequestHead, state: &'a mut RequestState) -> Self {
        Self { head, state }
    }

    /// The first value of a header.
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.head.headers().get(name)
    }

    /// The method.
    pub fn method(&self) -> &Method {
        self.head.method()
    }

    /// The normalised path.
    pub fn path(&self) -> &str {
        self.state.path()
    }

    /// Whether the request is only explained: see [`RequestState::is_preview`].
    pub fn is_preview(&self) -> bool {
        self.state.is_preview()
    }

    /// Whether the client came by TLS.
    pub fn is_tls(&self) -> bool {
        self.state.is_tls()
    }

    /// The server name (SNI) the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.state.server_name()
    }

    /// The client's certificate, verified; `None` when it showed none.
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.state.client_certificate()
    }
}
