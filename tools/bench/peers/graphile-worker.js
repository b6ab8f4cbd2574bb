// graphile-worker, set up as its documentation does for throughput (https://worker.graphile.org/docs/performance): works off
// whatever is in the queue of DATABASE_URL, and tells at PORT how many invoices it has paid.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Logger, run } from "graphile-worker";

const text = readFileSync(new URL("pay.sql", import.meta.url), "utf8");
let paid = 0;

await run({
  preset: {
    worker: {
      connectionString: process.env.DATABASE_URL,
      concurrentJobs: 24,
      maxPoolSize: 25,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
  // A line for each job would be measured, too.
  logger: new Logger(() => (level, message) => level === "error" && console.error(message)),
  taskList: {
    async pay({ invoice_id: invoice }, helpers) {
      const { rowCount } = await helpers.query({ name: "pay", text, values: [[invoice]] });
      paid += rowCount;
    },
  },
});

createServer((_, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ paid }));
}).listen(Number(process.env.PORT), "127.0.0.1");
