// Shows openapi.json: its operations by group, and its schemas. Text is only ever set as text.
'use strict';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
let all;

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

// `code` in descriptions.
function prose(text) {
  return (text || '').split('`').map((part, i) => (i % 2 ? make('code', null, part) : part));
}

function slug(text) {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, '-');
}

function resolved(item) {
  if (!item || !item.$ref) return item;
  return item.$ref.slice(2).split('/').reduce((at, name) => at[name], all);
}

// A schema in a few words, with links to those that have a name.
function kind(schema) {
  if (!schema) return [];
  if (schema.$ref) {
    const name = schema.$ref.split('/').pop();
    return [make('a', { href: '#schema-' + slug(name) }, name)];
  }
  const parts = schema.oneOf || schema.anyOf || schema.allOf;
  if (parts) return parts.flatMap((part, i) => (i ? [' | ', ...kind(part)] : kind(part)));
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(' | ')];
  const types = [].concat(schema.type || 'any');
  if (types.includes('array')) return ['list of ', ...kind(schema.items)];
  if (types.includes('object') && schema.additionalProperties && schema.additionalProperties !== true) {
    return ['object of ', ...kind(schema.additionalProperties)];
  }
  return [types.join(' | ')];
}

function bounds(schema) {
  const said = [];
  if (!schema) return '';
  if (schema.minimum !== undefined) said.push('from ' + schema.minimum);
  if (schema.maximum !== undefined) said.push('to ' + schema.maximum);
  if (schema.maxLength !== undefined) said.push('up to ' + schema.maxLength + ' characters');
  if (schema.default !== undefined && schema.default !== null) said.push('default ' + JSON.stringify(schema.default));
  const example = schema.example !== undefined ? schema.example : (schema.examples || [])[0];
  if (example !== undefined) said.push('such as ' + JSON.stringify(example));
  if (schema.readOnly) said.push('read only');
  return said.length ? ' (' + said.join(', ') + ')' : '';
}

function row(name, schema, about, required) {
  const type = make('td', null, make('code', null, kind(schema)), make('span', { class: 'dim' }, bounds(schema)));
  const label = make('td', null, make('code', null, name), required ? ' *' : '');
  const text = make('td', null, prose(about || (schema && schema.description)), nested(schema));
  return make('tr', null, label, type, text);
}

// The fields of a schema that has no name of its own.
function nested(schema) {
  const inner = schema && (schema.items || schema);
  return inner && inner.properties ? fields(inner) : null;
}

function fields(schema) {
  const required = schema.required || [];
  const rows = Object.entries(schema.properties || {});
  return make('table', null, rows.map(([name, field]) => row(name, field, field.description, required.includes(name))));
}

function shape(schema) {
  if (schema.properties) return fields(schema);
  return make('p', null, make('code', null, kind(schema)), nested(schema));
}

function parameters(list) {
  const rows = list.map(resolved).map((one) => {
    const line = row(one.name, one.schema, one.description, one.required);
    line.firstChild.append(make('span', { class: 'dim' }, ' ' + one.in));
    return line;
  });
  return [make('h4', null, 'Parameters'), make('table', null, rows)];
}

function content(of) {
  return Object.entries(of || {}).map(([type, media]) => [
    make('span', { class: 'dim' }, ' ' + type + ' '),
    make('code', null, kind(media.schema)),
    nested(media.schema),
  ]);
}

function answers(of) {
  const rows = Object.entries(of).map(([status, one]) => {
    const answer = resolved(one);
    const headers = Object.entries(answer.headers || {}).map(([name, header]) =>
      make('div', null, make('code', null, name), ': ', prose(header.description)));
    return make('tr', null, make('td', null, make('code', null, status)),
      make('td', null, prose(answer.description), headers), make('td', null, content(answer.content)));
  });
  return [make('h4', null, 'Answers'), make('table', null, rows)];
}

function operation(path, method, of) {
  const body = make('div');
  const head = make('summary', null, make('span', { class: 'method ' + method }, method.toUpperCase()),
    make('code', { class: 'path' }, path), make('span', { class: 'dim' }, of.summary || ''));
  const whole = make('details', { id: of.operationId, class: 'operation' }, head, body);
  whole.addEventListener('toggle', () => {
    if (!whole.open || body.firstChild) return;
    if (of.description) body.append(make('p', null, prose(of.description)));
    if (of.security && !of.security.length) body.append(make('p', { class: 'dim' }, 'It needs no credentials.'));
    if (of.parameters && of.parameters.length) body.append(...parameters(of.parameters));
    if (of.requestBody) {
      const sent = resolved(of.requestBody);
      body.append(make('h4', null, 'Body'), make('p', null, prose(sent.description), content(sent.content)));
    }
    body.append(...answers(of.responses));
  });
  return whole;
}

function group(tag) {
  const found = [];
  for (const [path, item] of Object.entries(all.paths)) {
    for (const method of METHODS) {
      if (item[method] && (item[method].tags || []).includes(tag.name)) found.push(operation(path, method, item[method]));
    }
  }
  return make('section', { id: slug(tag.name) }, make('h2', null, tag.name), make('p', null, prose(tag.description)), found);
}

function schemas() {
  const shown = Object.entries((all.components || {}).schemas || {}).map(([name, schema]) =>
    make('details', { id: 'schema-' + slug(name) }, make('summary', null, make('code', null, name), ' ',
      make('span', { class: 'dim' }, prose((schema.description || '').split('\n')[0]))), make('div', null, shape(schema))));
  return make('section', { id: 'schemas' }, make('h2', null, 'Schemas'), shown);
}

// Opens what a link leads to.
function follow() {
  const at = document.getElementById(location.hash.slice(1));
  if (!at) return;
  if (at.tagName === 'DETAILS') at.open = true;
  at.scrollIntoView();
}

function search(input) {
  const text = input.value.toLowerCase();
  for (const one of document.querySelectorAll('.operation')) {
    one.hidden = !one.firstChild.textContent.toLowerCase().includes(text);
  }
}

async function show() {
  const main = document.getElementById('document');
  try {
    const response = await fetch('openapi.json');
    if (!response.ok) throw new Error('openapi.json: ' + response.status);
    all = await response.json();
  } catch (error) {
    main.replaceChildren(make('p', null, String(error)));
    return;
  }
  const tags = all.tags || [];
  const find = make('input', { type: 'search', placeholder: 'Find', 'aria-label': 'Find an operation' });
  find.addEventListener('input', () => search(find));
  const links = [...tags.map((tag) => tag.name), 'schemas'].map((name) => make('a', { href: '#' + slug(name) }, name));
  document.getElementById('groups').replaceChildren(find, ...links, make('a', { href: 'openapi.json' }, 'openapi.json'));
  const server = ((all.servers || [])[0] || {}).url || '';
  const about = (all.info.description || '').split('\n\n').map((text) => make('p', null, prose(text)));
  main.replaceChildren(make('h1', null, all.info.title + ' ' + all.info.version), ...about,
    make('p', null, 'Paths are below ', make('code', null, server), '. * marks what must be given.'),
    ...tags.map(group), schemas());
  addEventListener('hashchange', follow);
  follow();
}

show();
