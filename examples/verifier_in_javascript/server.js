// A verifier server that knows nothing of Espalier but its .proto files.
//
//   npm install && node server.js PROTO_DIRECTORY [HOST:PORT]
//
// It judges custom checks called "haiku", with the parameters {"lines": 3}.
"use strict";
const path = require("path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [directory, address = "127.0.0.1:50790"] = process.argv.slice(2);
const options = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true };
const loaded = loader.loadSync(path.join(directory, "espalier/v1/verifier.proto"), { ...options, includeDirs: [directory] });
const { espalier } = grpc.loadPackageDefinition(loaded);

const INFO = { name: "haiku", version: "1.0", kinds: ["custom"], limits: {}, healthy: true, reason: "" };

function refuse(field, problem) {
  return { code: grpc.status.INVALID_ARGUMENT, details: `${field}: ${problem}` };
}

function verify(call, done) {
  const { claim, check } = call.request;
  if (check?.kind !== "custom" || check.custom.verifier !== INFO.name) {
    return done(refuse("check.kind", `this server judges custom checks of ${INFO.name}`));
  }
  let wanted;
  try {
    wanted = JSON.parse(check.custom.parameters_json || "{}").lines;
  } catch (error) {
    return done(refuse("check.custom.parameters_json", error.message));
  }
  if (!Number.isInteger(wanted)) return done(refuse("check.custom.parameters_json", "lines must be an integer"));
  const found = claim.text.trim().split("\n").length;
  const verdict =
    found === wanted
      ? { status: "STATUS_PASS", score: 1 }
      : { status: "STATUS_FAIL", score: 0, feedback: `Write ${wanted} lines, not ${found}.` };
  done(null, { verdict: { ...verdict, decided_by: INFO.name, evidence: [{ rule: "lines", detail: String(found) }] } });
}

const server = new grpc.Server();
server.addService(espalier.v1.Verifier.service, {
  Verify: verify,
  Describe: (call, done) => done(null, { verifiers: [INFO] }),
  // Equivalent and Classes are for verifiers of mathematics; gRPC answers UNIMPLEMENTED for what is left out.
});
server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`listening on port ${port}`);
});
process.on("SIGTERM", () => server.tryShutdown(() => process.exit(0)));
