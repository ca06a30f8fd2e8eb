'use strict';

const results = document.getElementById('results');
let otherServer = null;

// Text only ever becomes text: what a server sends must not become a part of the page.
function show(title, outcome, lines) {
  const card = document.createElement('article');
  card.className = outcome;
  const heading = card.appendChild(document.createElement('h2'));
  heading.textContent = title;
  lines.forEach((line) => {
    card.appendChild(document.createElement('p')).textContent = line;
  });
  results.prepend(card);
}

function failed(title) {
  return (failure) => {
    const status = failure.status === null ? '' : ' (status ' + failure.status + ')';
    show(title, 'failure', [failure.errorCode + status, failure.errorMsg]);
  };
}

function on(id, action) {
  const button = document.getElementById(id);
  button.addEventListener('click', () => action(button.textContent));
}

function people(url) {
  const request = new WLResourceRequest(url, WLResourceRequest.GET, { timeout: 10000 });
  request.setQueryParameter('page', 1);
  return request.send();
}

function showPeople(title) {
  return (response) =>
    show(title, 'success', response.responseJSON.map((one) => one.name + ', born ' + one.born));
}

on('request', (title) => {
  people('/people').then(showPeople(title), failed(title));
});

on('pin', (title) => {
  WL.Client.pinTrustedCertificatePublicKey('server.cer').then(
    () => show(title, 'success', ['pinned to the key in server.cer']),
    failed(title)
  );
});

on('token', (title) => {
  WLAuthorizationManager.obtainAccessToken('people.read').then(
    (token) =>
      show(title, 'success', [
        'a token for "' + token.scope + '", until ' + token.expiresAt.toLocaleTimeString('en-GB'),
        token.value === null ? 'its text stays in the app' : token.value,
      ]),
    failed(title)
  );
});

on('impostor', (title) => {
  people(otherServer + '/people').then(showPeople(title), failed(title));
});

on('elsewhere', (title) => {
  people('https://elsewhere.example/').then(showPeople(title), failed(title));
});

['missing', 'broken'].forEach((name) => {
  on(name, (title) => {
    WL.Client.pinTrustedCertificatePublicKey(name + '.cer').then(
      () => show(title, 'success', ['pinned']),
      failed(title)
    );
  });
});

window.addEventListener('keypinready', () => {
  window.pywebview.api.other_server().then((url) => {
    otherServer = url;
    document.getElementById('impostor').disabled = url === null;
    document.getElementById('state').textContent = 'connected to the app';
  });
});
