//! Origins over TLS: which servers are believed to be who they are.

use std::sync::Arc;

use ostler_e2e::server::Reply;
use ostler_e2e::{Plan, Server};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::origins::values;

#[tokio::test]
async fn an_origin_over_tls_has_to_prove_who_it_is() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost");
    let server = Server::start_tls(acceptor, |_| Reply::text("secret")).await;
    let other_name = authority.acceptor("other.example");
    let other = Server::start_tls(other_name, |_| Reply::text("secret")).await;
    let (port, other_port) = (server.address().port(), other.address().port());
    let plan = Plan::bare().with(&format!(
        "origin.safe.servers = ['https://localhost:{port}']
         origin.other.servers = ['https://localhost:{other_port}']
         origin.plain.servers = ['http://localhost:{port}']
         [[site]]
         route = [{{ path = '/', origin = 'safe' }}, {{ path = '/other', origin = 'other' }},
                  {{ path = '/plain', origin = 'plain' }}]"
    ));

    let stranger = plan.clone().start().await;
    stranger.get("/").await.expect_reason(502, "origin-connect");
    assert_eq!(server.heads(), [""; 0], "nothing is sent to a server that is not known");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let trusting = plan.environment("SSL_CERT_FILE", file.to_str().unwrap()).start().await;
    let mut client = trusting.connect().await;
    for _ in 0..3 {
        let response = client.get("/x").await;
        assert_eq!((response.status, response.text().as_str()), (200, "secret"), "{response:?}");
    }
    assert_eq!(values(&server.heads()[0], "host"), [format!("localhost:{port}")]);
    client.get("/other").await.expect_reason(502, "origin-connect");
    assert_eq!(other.heads(), [""; 0], "the certificate is for another name");
    assert_eq!(client.get("/plain").await.status, 502, "and nothing is made of a wrong scheme");
}

/// A certificate authority that nobody knows by itself.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's side of TLS, with a certificate for `name`.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate: Certificate = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
