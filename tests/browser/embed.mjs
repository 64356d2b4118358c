// What Node and browsers share: token ids of texts in, the outputs of a bundle's graph out.
// `ort` is onnxruntime-node or onnxruntime-web, `session` one of its sessions.

/** Run a batch, an array of token ids a text; return tensors: `embedding` [batch, dim] and, if any, `logits`. */
export function embed(ort, session, texts, padId) {
  return session.run(feeds(ort, session, texts, padId));
}

/** Run every batch through every graph, opened by `open(name)`; return flat values by graph, batch and output. */
export async function embedAll(ort, open, { graphs, batches, padId }) {
  const values = {};
  for (const graph of graphs) {
    const session = await open(graph);
    values[graph] = [];
    for (const texts of batches) {
      const outputs = Object.entries(await embed(ort, session, texts, padId));
      values[graph].push(Object.fromEntries(outputs.map(([name, tensor]) => [name, Array.from(tensor.data)])));
    }
    await session.release();
  }
  return { versions: ort.env.versions, values };
}

/** The graph's inputs, each [batch, longest] int64, padded on the right and masked. */
function feeds(ort, session, texts, padId) {
  const longest = Math.max(...texts.map((ids) => ids.length));
  const size = texts.length * longest;
  const arrays = {
    input_ids: new BigInt64Array(size).fill(BigInt(padId)),
    attention_mask: new BigInt64Array(size),
    token_type_ids: new BigInt64Array(size),
  };
  texts.forEach((ids, row) => {
    arrays.input_ids.set(ids.map(BigInt), row * longest);
    arrays.attention_mask.fill(1n, row * longest, row * longest + ids.length);
  });
  const shape = [texts.length, longest];
  return Object.fromEntries(session.inputNames.map((name) => [name, new ort.Tensor("int64", arrays[name], shape)]));
}
