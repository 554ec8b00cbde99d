//! Receives one family's name, help, unit and values · hands them to the encoder · owns how each type is written.

use std::borrow::Cow;
use std::fmt::Result;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeLabelValue, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use streamconductor_core::stats::{Flow, Histogram};

/// Writes one family after the other. Names carry neither prefix, unit nor `_total`: the encoder adds them.
pub struct Families<'encoder>(DescriptorEncoder<'encoder>);

impl<'encoder> Families<'encoder> {
    pub fn new(encoder: DescriptorEncoder<'encoder>) -> Self {
        Self(encoder)
    }

    /// A gauge without labels.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: &impl EncodeGaugeValue,
    ) -> Result {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(value)
    }

    /// A gauge per value of one label.
    pub fn gauges<L: EncodeLabelValue, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> Result {
        let values = values.into_iter().map(|(key, value)| ([(label, key)], value));
        self.gauges_by(name, help, unit, values)
    }

    /// A gauge per set of labels.
    pub fn gauges_by<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A counter without labels.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: &impl EncodeCounterValue,
    ) -> Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(value, None)
    }

    /// A counter per value of one label.
    pub fn counters<L: EncodeLabelValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (key, value) in values {
            family.encode_family(&[(label, key)])?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// Two counters: messages, and their bytes.
    pub fn flow(&mut self, name: &str, what: &str, flow: Flow) -> Result {
        let (messages, bytes) = (format!("{name}_messages"), format!("Bytes of messages {what}"));
        self.counter(&messages, &format!("Messages {what}"), None, &flow.messages)?;
        self.counter(name, &bytes, Some(&Unit::Bytes), &flow.bytes)
    }

    /// A histogram of durations.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> Result {
        let buckets: Vec<_> =
            histogram.buckets().map(|(bound, count)| (bound.unwrap_or(f64::INFINITY), count)).collect();
        let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
        self.0
            .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    /// A fact in a label.
    pub fn info(&mut self, name: &str, help: &str, label: &str, value: &str) -> Result {
        let labels = [(label, Cow::Borrowed(value))];
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }
}
