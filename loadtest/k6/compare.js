// The same request at the same rate through one system after another; run.py measures its CPU.
import { asked, chat, seconds, summed, trend } from './lib.js';

const rate = Number(__ENV.RATE || 1000);
export const options = {
  scenarios: { steady: { executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: seconds(20), preAllocatedVUs: 50, maxVUs: 500 } },
  summaryTrendStats: trend, tags: { test: 'compare' },
  thresholds: asked(rate, ['chat']),
};
export default () => { chat(__ENV.KEY, __ENV.MODEL); };
export const handleSummary = summed;
