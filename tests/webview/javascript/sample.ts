// A program as an app would have it, and mistakes that the declarations must find.

async function right(): Promise<string[]> {
  await WL.Client.pinTrustedCertificatePublicKey('a.cer');
  await WL.Client.pinTrustedCertificatePublicKey(['a.cer', 'b.cer']);
  const token = await WLAuthorizationManager.obtainAccessToken('a b');
  await WLAuthorizationManager.obtainAccessToken();
  const header: string | null = token.asAuthorizationRequestHeader;
  const ends: number = token.expiresAt === null ? 0 : token.expiresAt.getTime();
  await WLAuthorizationManager.clearAccessToken(token);

  const request = new WLResourceRequest('/people', WLResourceRequest.GET, { timeout: 30000, scope: 'a' });
  request.setQueryParameter('page', 2);
  request.setQueryParameters({ params: [5, 6], yes: true });
  request.setQueryParameters();
  request.setHeaders({ 'X-A': ['a', 1], 'X-B': false });
  request.setHeader('X-A', 'a');
  request.addHeader('X-A', 1);
  request.setTimeout(request.getTimeout() * 2);
  const first: string | undefined = request.getHeader('X-A');
  const some: string[] | undefined = request.getHeaders('X-A');
  const all: { [name: string]: string[] } = request.getHeaders();
  const response = await request.send({ a: [1] });
  await new WLResourceRequest('/x', 'POST', 5000).sendFormParameters({ a: 1 });
  const type: string | null = response.getHeader('Content-Type');
  const people: { name: string }[] = response.responseJSON;
  window.addEventListener('keypinready', (event) => event.detail);
  return [response.responseText, String([header, ends, first, some, all, type])].concat(
    people.map((person) => person.name)
  );
}

new WLResourceRequest('/people', WLResourceRequest.DELETE).send().then(
  (response) => response.status.toFixed(),
  (failure: WL.Failure) => {
    switch (failure.errorCode) {
      case WL.ErrorCode.PIN_MISMATCH:
        return 'not our server';
      case 'SERVER_ERROR':
        return String(failure.status) + failure.responseText;
      // @ts-expect-error
      case 'PIN_MISSMATCH':
        return '';
      default:
        return failure.errorMsg;
    }
  }
);

// @ts-expect-error
WL.Client.pinTrustedCertificatePublicKey(7);
// @ts-expect-error
WL.Client.pinTrustedCertificatePublicKey();
// @ts-expect-error
WLAuthorizationManager.clearAccessToken('token');
// @ts-expect-error
new WLResourceRequest('/people');
// @ts-expect-error
new WLResourceRequest('/people', 'TRACE');
// @ts-expect-error
new WLResourceRequest('/people', 'GET', { timeOut: 1 });
// @ts-expect-error
new WLResourceRequest('/people', 'GET').setHeader('a', {});
// @ts-expect-error
new WLResourceRequest('/people', 'GET').send().then((response) => response.text);
