// The runner kills the first of two providers in the middle and brings it back: clients do not notice.
import { asked, chat, makeKey, seconds, stream, summed, trend } from './lib.js';

const rate = Number(__ENV.RATE || 100);
const open = (exec, share) => ({ executor: 'constant-arrival-rate', exec, rate: Math.max(1, rate * share), timeUnit: '1s', duration: seconds(60), preAllocatedVUs: 50, maxVUs: 1000 });
export const options = {
  scenarios: { asks: open('asks', 0.7), streams: open('streams', 0.3) },
  summaryTrendStats: trend, tags: { test: 'failover' },
  // Checks too: a stream that broke has status 200 and no [DONE].
  thresholds: asked(rate, ['chat', 'stream'], { 'http_req_duration{kind:chat}': [`p(99)<${__ENV.P99_MS || 2000}`] }),
};
export const setup = () => ({ key: makeKey({ max_budget: 1000000 }) });
export const asks = ({ key }) => { chat(key, 'pair'); };
export const streams = ({ key }) => { stream(key, 'pair'); };
export const handleSummary = summed;
