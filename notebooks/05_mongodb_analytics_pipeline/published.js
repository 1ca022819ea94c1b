// analytics.js - Advanced aggregation pipeline
const { MongoClient } = require('mongodb')

const client = new MongoClient('mongodb://localhost:27017')

async function getUserEngagementStats(startDate, endDate) {
  const db = client.db('analytics')
  
  return await db.collection('events').aggregate([
    // Stage 1: Filter by date range
    {
      $match: {
        timestamp: {
          $gte: new Date(startDate),
          $lte: new Date(endDate)
        },
        eventType: { $in: ['page_view', 'click', 'purchase'] }
      }
    },
    
    // Stage 2: Group by user and event type
    {
      $group: {
        _id: {
          userId: '$userId',
          eventType: '$eventType'
        },
        count: { $sum: 1 },
        totalValue: { $sum: '$value' }
      }
    },
    
    // Stage 3: Reshape data
    {
      $group: {
        _id: '$_id.userId',
        events: {
          $push: {
            type: '$_id.eventType',
            count: '$count',
            value: '$totalValue'
          }
        },
        totalEvents: { $sum: '$count' }
      }
    },
    
    // Stage 4: Lookup user details
    {
      $lookup: {
        from: 'users',
        localField: '_id',
        foreignField: 'userId',
        as: 'userInfo'
      }
    },
    
    // Stage 5: Unwind user info
    {
      $unwind: {
        path: '$userInfo',
        preserveNullAndEmptyArrays: true
      }
    },
    
    // Stage 6: Calculate engagement score
    {
      $addFields: {
        engagementScore: {
          $add: [
            { $multiply: [
              { $size: { $filter: { 
                input: '$events',
                cond: { $eq: ['$$this.type', 'page_view'] }
              }}},
              1
            ]},
            { $multiply: [
              { $size: { $filter: {
                input: '$events',
                cond: { $eq: ['$$this.type', 'click'] }
              }}},
              5
            ]},
            { $multiply: [
              { $size: { $filter: {
                input: '$events',
                cond: { $eq: ['$$this.type', 'purchase'] }
              }}},
              10
            ]}
          ]
        }
      }
    },
    
    // Stage 7: Project final fields
    {
      $project: {
        userId: '$_id',
        userName: '$userInfo.name',
        userEmail: '$userInfo.email',
        events: 1,
        totalEvents: 1,
        engagementScore: 1
      }
    },
    
    // Stage 8: Sort by engagement score
    {
      $sort: { engagementScore: -1 }
    },
    
    // Stage 9: Limit results
    {
      $limit: 100
    }
  ]).toArray()
}

// Real-time analytics with $merge
async function updateDailyStats(date) {
  const db = client.db('analytics')
  
  await db.collection('events').aggregate([
    {
      $match: {
        timestamp: {
          $gte: new Date(date),
          $lt: new Date(date.getTime() + 86400000)
        }
      }
    },
    {
      $group: {
        _id: {
          date: { $dateToString: { format: '%Y-%m-%d', date: '$timestamp' } },
          userId: '$userId',
          eventType: '$eventType'
        },
        count: { $sum: 1 },
        totalValue: { $sum: '$value' }
      }
    },
    {
      $merge: {
        into: 'daily_stats',
        on: '_id',
        whenMatched: 'replace',
        whenNotMatched: 'insert'
      }
    }
  ])
}
