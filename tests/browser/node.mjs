// A bundle in Node: `node node.mjs bundle/int8 < task.json`, the task as in embedAll.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { embedAll } from "./embed.mjs";

/** Open a graph; onnxruntime finds weights.bin beside it. */
const open = (folder, graph) => ort.InferenceSession.create(join(folder, graph), { intraOpNumThreads: 1 });

const task = JSON.parse(readFileSync(0, "utf8"));
const answer = await embedAll(ort, (graph) => open(process.argv[2], graph), task);
process.stdout.write(JSON.stringify(answer));
