// A bundle in a browser, in WebAssembly; `folder` is the URL of one precision, as bundle/int8.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { embedAll } from "./embed.mjs";

/** Open a graph. A page has no folder to look in, so it says where the weights.bin that the graph names is. */
const open = (folder, graph) =>
  ort.InferenceSession.create(`${folder}/${graph}`, {
    externalData: [{ path: "weights.bin", data: `${folder}/weights.bin` }],
  });

export const answer = (folder, task) => embedAll(ort, (graph) => open(folder, graph), task);
