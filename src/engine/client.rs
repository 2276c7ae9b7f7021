//! The HTTP client of an endpoint, and the places where it takes the time of a connection.
//!
//! The parts of a connection are told apart from within: the look-up of the name by a resolver of our own, the whole by a
//! layer around the connector, and the beginning of TLS by the session store, which the handshake asks first.

use super::endpoint::{Api, Endpoint, RemoteOptions};
use super::tries::Trace;
use crate::error::{Context, Result, usage};
use crate::files;
use crate::net::is_loopback;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use rustls::client::Tls13ClientSessionValue;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, NamedGroup, RootCertStore};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task;

/// Larger files of certificates are refused.
const LARGEST_CA_FILE: u64 = 4 << 20;
/// Larger headers of an answer are refused.
const LARGEST_HEADERS: u32 = 256 << 10;
/// TLS sessions that are kept for resumption.
const SESSIONS: usize = 8;
/// The version of Anthropic's protocol that is spoken.
const ANTHROPIC_VERSION: &str = "2023-06-01";

tokio::task_local! {
    /// The try for which a connection is made.
    static TRACE: Arc<Trace>;
}

/// Runs a try so that the parts of its connection are timed.
pub(super) async fn traced<T>(trace: Arc<Trace>, work: impl Future<Output = T>) -> T {
    TRACE.scope(trace, work).await
}

fn current() -> Option<Arc<Trace>> {
    TRACE.try_with(Arc::clone).ok()
}

/// An HTTP client for an endpoint.
pub(super) fn client(endpoint: &Endpoint, options: &RemoteOptions) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers(endpoint, options)?)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(options.timeouts.connect)
        .http2_max_header_list_size(LARGEST_HEADERS)
        .tcp_nodelay(true)
        .dns_resolver(TimedResolver)
        .connector_layer(TimedLayer)
        .tls_backend_preconfigured(tls(endpoint, options)?);
    if is_loopback(&endpoint.host) {
        // A proxy cannot know this machine's loopback.
        builder = builder.no_proxy();
    }
    builder.build().with_context(|| format!("cannot prepare the HTTP client for {}", endpoint.shown))
}

fn headers(endpoint: &Endpoint, options: &RemoteOptions) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let secret = |value: &str, name: &str| -> Result<HeaderValue> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            usage(format!("the key in {name} holds characters that no HTTP header may hold; set it again"))
        })?;
        value.set_sensitive(true);
        Ok(value)
    };
    if endpoint.api == Api::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
    }
    if let Some(key) = &options.api_key {
        let name = &options.api_key_env;
        match endpoint.api {
            Api::OpenAi => headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", key.expose()), name)?),
            Api::Anthropic => headers.insert("x-api-key", secret(key.expose(), name)?),
        };
    }
    let parse = |name: &str| {
        HeaderName::try_from(name)
            .map_err(|_| usage(format!("{name:?} is not an HTTP header name; correct the headers of the endpoint")))
    };
    for (name, value) in &options.plain_headers {
        let value = HeaderValue::from_str(value)
            .map_err(|_| usage(format!("the header {name} holds characters that no HTTP header may hold")))?;
        headers.insert(parse(name)?, value);
    }
    for (name, value) in &options.extra_headers {
        headers.insert(parse(name)?, secret(value.expose(), name)?);
    }
    Ok(headers)
}

/// What is trusted: the system's certificates and those of `--ca-file`. Plain HTTP trusts none, so that it works on a machine
/// that has no certificate store.
fn tls(endpoint: &Endpoint, options: &RemoteOptions) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("cannot prepare TLS")?;
    let mut config = if endpoint.url.scheme() == "http" {
        builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    } else {
        let extra = options.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let verifier = verifier(extra, provider)?;
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::store(Arc::new(TimedSessions(ClientSessionMemoryCache::new(SESSIONS))));
    Ok(config)
}

#[cfg(any(all(unix, not(target_os = "android")), windows))]
fn verifier(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn rustls::client::danger::ServerCertVerifier>> {
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider);
    Ok(Arc::new(verifier.context("cannot read the certificates that this system trusts: are they installed?")?))
}

#[cfg(not(any(all(unix, not(target_os = "android")), windows)))]
fn verifier(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn rustls::client::danger::ServerCertVerifier>> {
    if !extra.is_empty() {
        return Err(usage("this system takes no certificates from --ca-file: install them in its own store"));
    }
    let verifier = rustls_platform_verifier::Verifier::new(provider);
    Ok(Arc::new(verifier.context("cannot read the certificates that this system trusts: are they installed?")?))
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = files::read(path, LARGEST_CA_FILE).map_err(|error| usage(format!("--ca-file: {error:#}")))?;
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let shown = path.display();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => {
            Err(usage(format!("--ca-file {shown} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")))
        }
        Err(error) => Err(usage(format!("--ca-file {shown} is not a file of certificates in PEM form: {error}"))),
    }
}

/// The request's body, which tells when it was taken by the connection.
pub(super) struct TimedBody {
    bytes: Option<Bytes>,
    trace: Arc<Trace>,
}

impl TimedBody {
    pub(super) fn new(bytes: Bytes, trace: Arc<Trace>) -> Self {
        Self { bytes: Some(bytes), trace }
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.bytes.take();
        if bytes.is_some() {
            self.trace.sent();
        }
        task::Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// The system's resolver, timed.
struct TimedResolver;

impl Resolve for TimedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let trace = current();
            let start = trace.as_ref().map(|trace| trace.now());
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if let (Some(trace), Some(start)) = (trace, start) {
                trace.resolved(start);
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Times the connector.
#[derive(Clone)]
struct TimedLayer;

impl<S> tower::Layer<S> for TimedLayer {
    type Service = TimedConnector<S>;

    fn layer(&self, inner: S) -> TimedConnector<S> {
        TimedConnector(inner)
    }
}

#[derive(Clone)]
struct TimedConnector<S>(S);

impl<S, R> tower::Service<R> for TimedConnector<S>
where
    S: tower::Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        let Some(trace) = current() else { return Box::pin(connecting) };
        let start = trace.now();
        // The client may finish a connection in the background, where the try is not at hand.
        Box::pin(TRACE.scope(Arc::clone(&trace), async move {
            let connected = connecting.await;
            if connected.is_ok() {
                trace.connected(start);
            }
            connected
        }))
    }
}

/// Keeps TLS sessions as usual; it is asked for the first thing when a handshake begins.
#[derive(Debug)]
struct TimedSessions(ClientSessionMemoryCache);

impl ClientSessionStore for TimedSessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        if let Some(trace) = current() {
            trace.tls_begins();
        }
        self.0.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.0.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(server_name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::*;

    #[test]
    fn a_key_that_no_header_may_hold_is_refused_without_repeating_it() {
        let mut options = RemoteOptions::new("http://h", "m");
        options.api_key = Some(Secret::new("sk\nhidden"));
        let endpoint = Endpoint::parse("http://h", None).unwrap();
        let error = client(&endpoint, &options).unwrap_err();
        assert!(!format!("{error:#}").contains("hidden"), "{error:#}");
        assert!(error.to_string().contains("OPENAI_API_KEY"), "{error:#}");
    }

    #[test]
    fn a_file_that_holds_no_certificate_is_a_usage_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "nothing").unwrap();
        let error = certificates(&path).unwrap_err();
        assert!(error.to_string().contains("holds no certificate"), "{error:#}");
        assert!(certificates(&folder.path().join("absent")).is_err());
    }
}
