// Many streams at once, a chunk every 100 ms: none stalls, none breaks. STREAMS at the same time, which begin one
// after the other as users' do; with BURST=1 all in the same moment, and again together whenever they have ended.
import { Trend } from 'k6/metrics';
import { makeKey, seconds, stream, summed, trend } from './lib.js';

const late = new Trend('stream_late_ms', true);
const expected = Number(__ENV.STREAM_MS || 5000);
const count = Number(__ENV.STREAMS || 500);
const spread = {
  executor: 'constant-arrival-rate', rate: Math.round(count * 10000 / expected), timeUnit: '10s',
  preAllocatedVUs: Math.ceil(count * 1.1), maxVUs: count * 2, duration: seconds(60), gracefulStop: '60s',
};
const burst = { executor: 'constant-vus', vus: count, duration: seconds(60), gracefulStop: '60s' };
export const options = {
  scenarios: { streams: __ENV.BURST ? burst : spread },
  summaryTrendStats: trend, tags: { test: 'stream' },
  thresholds: {
    'http_req_failed{kind:stream}': ['rate==0'], checks: ['rate==1'],
    'http_req_waiting{kind:stream}': [`p(99)<${__ENV.TTFT_MS || 500}`],
    // Longer than the provider's own pace by this much, over the whole stream.
    stream_late_ms: [`p(99)<${__ENV.LATE_MS || 2000}`],
  },
};
// $KEY and $MODEL: against something that makes no keys, such as the provider alone.
export const setup = () => ({ key: __ENV.KEY || makeKey({ max_budget: 1000000 }) });
export default ({ key }) => {
  const answer = stream(key, __ENV.MODEL || 'slow-stream');
  if (answer.status === 200) late.add(answer.timings.duration - expected);
};
export const handleSummary = summed;
