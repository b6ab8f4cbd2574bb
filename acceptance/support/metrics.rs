//! Reads the numbers that a service tells about itself.

use local_stack::Service;

use crate::{Error, Result};

/// All of it.
pub async fn metrics_text(service: &Service) -> Result<String> {
    let http = local_stack::http_client(std::time::Duration::from_secs(10))?;
    let url = format!("{}/metrics", service.admin_url());
    Ok(http.get(&url).send().await?.text().await?)
}

/// The sum of a metric over all its label sets; of those with all these labels (`status="429"`), if any are given.
pub async fn metric(service: &Service, name: &str, labels: &[&str]) -> Result<f64> {
    let text = metrics_text(service).await?;
    let mut sum = None;
    for line in text.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let of_name = series == name
            || series
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{'));
        if of_name && labels.iter().all(|label| series.contains(label)) {
            *sum.get_or_insert(0.0) += value.parse::<f64>()?;
        }
    }
    sum.ok_or_else(|| {
        Error::new(format!(
            "{}/metrics has no {name} with {labels:?}",
            service.admin_url()
        ))
    })
}
