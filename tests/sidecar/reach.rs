//! How backends are reached: TLS with a private authority and a client certificate, h2, a proxy's tunnel.

use crate::authority::*;
use crate::support::*;
use shiftgate::api::sim::Behaviour;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn tls_with_our_own_authority_and_a_client_certificate() {
    for h2 in [false, true] {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let authority = authority("ours");
        let (front, agreed) = tls_front(&authority, "localhost", h2, qwen.address()).await;
        let folder = tempfile::tempdir().unwrap();
        let (_, pem, key) = leaf(&authority, "client");
        for (name, text) in [("ca.pem", &authority.pem), ("cert.pem", &pem), ("key.pem", &key.serialize_pem())] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let tls = format!(
            "tls = {{ ca = \"{}\", cert = \"{}\", key = \"{}\" }}\nh2 = {h2}\nmodels",
            at("ca.pem"),
            at("cert.pem"),
            at("key.pem")
        );
        let text = file(&openai, &qwen, 100.0)
            .replace(&qwen.url(), &format!("https://localhost:{}/v1", front.port()))
            .replacen("models", &tls, 1);
        let running = launch(&text, false).await;
        for stream in [false, true, false] {
            let answer = ask(&running, &chat("x", stream), "").await;
            assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
        }
        assert_eq!(agreed.borrow().as_slice(), if h2 { b"h2".as_slice() } else { b"" });
        assert_eq!(qwen.opened(), 1, "the connection is reused");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_out_of_date_or_of_nobody_is_refused() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let (ours, foreign) = (authority("ours"), authority("foreign"));
    for (signer, name, why) in [
        (&ours, "elsewhere.test", "not valid for name"),
        (&ours, "localhost (expired)", "expired"),
        (&foreign, "localhost", "UnknownIssuer"),
    ] {
        let (front, _) = tls_front(signer, name, false, qwen.address()).await;
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, &ours.pem).unwrap();
        let text = file(&openai, &qwen, 100.0)
            .replace(&qwen.url(), &format!("https://localhost:{}/v1", front.port()))
            .replacen("models", &format!("tls = {{ ca = \"{}\" }}\nmodels", ca.display()), 1);
        let running = launch(&text, false).await;
        let answer = ask(&running, &chat("x", false), "").await;
        assert_eq!(answer.status, 502);
        assert!(answer.text().contains("TLS failed") && answer.text().contains(why), "{}", answer.text());
    }
    assert_eq!(qwen.requests(), 0);
}

/// Answers every ClientHello with a ServerHello of TLS 1.1 (RFC 4346 §7.4.1.3).
async fn tls_1_1() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).await.unwrap();
            let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
            stream.read_exact(&mut rest).await.unwrap();
            let body = [&[3, 2][..], &[7; 32], &[0], &[0, 0x2f], &[0]].concat();
            let length = u8::try_from(body.len()).unwrap();
            stream.write_all(&[&[22, 3, 2, 0, length + 4, 2, 0, 0, length], body.as_slice()].concat()).await.unwrap();
            drop(stream.read(&mut hello).await);
        }
    });
    address
}

#[tokio::test]
async fn old_tls_and_what_is_no_tls_fail_over() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let old = tls_1_1().await;
    for port in [old.port(), qwen.address().port()] {
        let text = file(&openai, &qwen, 100.0)
            .replace(&qwen.url(), &format!("https://localhost:{port}/v1"))
            .replace("enabled = false", "enabled = true");
        let running = launch(&text, false).await;
        let answer = ask(&running, &chat("x", false), "").await;
        assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("failover:tls")), "port {port}");
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_with_its_own_credentials() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let (asked, mut heads) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let text = String::from_utf8(head).unwrap();
            let target = text.split(' ').nth(1).unwrap().to_owned();
            asked.send(text).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut plain = TcpStream::connect(target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut plain).await });
        }
    });
    let text =
        file(&openai, &qwen, 100.0).replacen("models", &format!("proxy = \"http://user:pass@{proxy}\"\nmodels"), 1);
    let running = launch(&text, false).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", qwen.address())), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnz"), "{head}");
    assert!(!head.contains("qwen-key-canary") && !head.contains("sk-app-canary"));
    assert!(!format!("{:?}", running.app.store.current()).contains("pass@"));
}
