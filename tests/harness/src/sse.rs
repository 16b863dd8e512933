//! A client of server-sent events, as a till or a wall would be.

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use url::Url;

use crate::patience::PATIENCE;

/// An open stream.
pub struct EventFeed {
    chunks: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: String,
}

impl std::fmt::Debug for EventFeed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("EventFeed")
    }
}

impl EventFeed {
    /// Opens a stream.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn open(url: Url, token: Option<&str>) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let mut request = client.get(url).header("accept", "text/event-stream");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        ensure!(response.status().is_success(), "the stream is refused: {}", response.status());
        let chunks = response.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec())).boxed();
        Ok(Self { chunks, buffer: String::new() })
    }

    /// The next event whose text contains `part`.
    ///
    /// # Errors
    /// When the stream ends or nothing like it comes in time.
    pub async fn next_containing(&mut self, part: &str) -> Result<String> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                while let Some(end) = self.buffer.find("\n\n") {
                    let event: String = self.buffer.drain(..end + 2).collect();
                    if event.contains(part) {
                        return Ok(event);
                    }
                }
                match self.chunks.next().await {
                    Some(chunk) => self.buffer.push_str(&String::from_utf8_lossy(&chunk?)),
                    None => bail!("the stream ended"),
                }
            }
        })
        .await
        .with_context(|| format!("no event with {part} came in time"))?
    }
}
