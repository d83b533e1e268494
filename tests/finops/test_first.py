from tests.finops.conftest import *
import time, asyncio
async def test_it(app, catalog):
    t=time.perf_counter()
    for start in range(0,2000,200):
        async with app.context(CALLER, correlation_id="x") as context:
            rows=[Row(values=dict(dataareaid="usmf", customergroupid="20", organizationname=f"Fab {start+i}", creditlimit=i, addressstreet=f"{i} Main", addresscity="Seattle", primarycontactemail=f"a{i}@b.c")) for i in range(200)]
            await app.execute(context, Message(operation=Operation.CREATE, table=CUSTOMERS, rows=rows))
            await context.commit()
    print('create 2000', time.perf_counter()-t)
    c = await app.pool.origin.acquire()
    await c.execute('analyze')
    async def timeit(name, sql, *a, n=200):
        await c.fetch(sql,*a)
        for _ in range(6): await c.fetch(sql,*a)
        t=time.perf_counter()
        for _ in range(n): await c.fetch(sql,*a)
        print(name, round((time.perf_counter()-t)/n*1e6),'us')
    v='finops.custcustomerv3entity'
    await timeit('key 5 col', f"select customeraccount, creditlimit, organizationname, recversion from {v} where lower(dataareaid)=lower($1) and lower(customeraccount)=lower($2)", 'usmf','C-00000500')
    await timeit('key 5 col nover', f"select customeraccount, creditlimit, organizationname from {v} where lower(dataareaid)=lower($1) and lower(customeraccount)=lower($2)", 'usmf','C-00000500')
    await timeit('key *', f"select * from {v} where lower(dataareaid)=lower($1) and lower(customeraccount)=lower($2)", 'usmf','C-00000500')
    await timeit('page 5 col', f"select customeraccount, creditlimit, organizationname, recversion from {v} where lower(dataareaid)=lower($1) order by lower(dataareaid), lower(customeraccount) limit 50", 'usmf')
    await timeit('page 5 col nover', f"select customeraccount, creditlimit, organizationname from {v} where lower(dataareaid)=lower($1) order by lower(dataareaid), lower(customeraccount) limit 50", 'usmf')
    for r in await c.fetch(f"explain (analyze, costs off, timing off) select customeraccount, creditlimit, organizationname, recversion from {v} where lower(dataareaid)=lower('usmf') order by lower(dataareaid), lower(customeraccount) limit 50"): print(r[0])
